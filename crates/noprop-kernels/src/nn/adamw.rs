//! AdamW as an optimizer of candle-nn.

use candle_core::backprop::GradStore;
use candle_core::{Result, Var};
use candle_nn::{Optimizer, ParamsAdamW};

use crate::optim::{Adam, AdamConfig, Rule};

/// AdamW in place of `candle_nn::AdamW`: the same steps, in one pass over each variable, with moments that can be saved.
///
/// As there, a variable without a gradient stays as it is: `VarMap::all_vars` includes the running statistics of batch norms,
/// which have none. Use [`Adam`] where a missing gradient must be an error.
#[derive(Debug)]
pub struct AdamW {
    adam: Adam,
    learning_rate: f64,
}

impl AdamW {
    /// An optimizer of named variables, for instance those of `VarMap::data`. [`Optimizer::new`] numbers its variables from 0.
    ///
    /// # Errors
    /// [`OptimError`](crate::optim::OptimError) when a constant is out of range, or two variables have one name.
    pub fn named(vars: Vec<(String, Var)>, params: ParamsAdamW) -> Result<Self> {
        let config = AdamConfig {
            rule: Rule::AdamW,
            beta1: params.beta1,
            beta2: params.beta2,
            eps: params.eps,
            weight_decay: params.weight_decay,
        };
        Ok(Self { adam: Adam::new(vars, config)?, learning_rate: params.lr })
    }

    /// The optimizer behind it, with its moments.
    #[must_use]
    pub fn adam(&self) -> &Adam {
        &self.adam
    }

    /// The optimizer behind it, to restore moments.
    pub fn adam_mut(&mut self) -> &mut Adam {
        &mut self.adam
    }
}

impl Optimizer for AdamW {
    type Config = ParamsAdamW;

    fn new(vars: Vec<Var>, params: ParamsAdamW) -> Result<Self> {
        let floats = vars.into_iter().filter(|var| var.dtype().is_float());
        Self::named((0_usize..).map(|i| i.to_string()).zip(floats).collect(), params)
    }

    fn step(&mut self, grads: &GradStore) -> Result<()> {
        Ok(self.adam.step_present(grads, self.learning_rate)?)
    }

    fn learning_rate(&self) -> f64 {
        self.learning_rate
    }

    fn set_learning_rate(&mut self, lr: f64) {
        self.learning_rate = lr;
    }
}
