//! Adam and AdamW, and moving averages of what they train: in place, with a state that can be saved and restored.
//!
//! candle-nn's own AdamW hides its moments, so no run could be resumed exactly. It silently skips a variable without a
//! gradient, so a part that is left out of the loss would go unnoticed. And it makes some fifteen temporary tensors for each
//! variable.

mod averages;
pub(crate) mod coefficients;
mod update;

use candle_core::backprop::GradStore;
use candle_core::{DType, Shape, Tensor, Var};

pub use averages::Averages;
use coefficients::Coefficients;

/// The form of weight decay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// Decoupled (Loshchilov and Hutter 2019): `θ ← θ − lr · λ · θ` beside the step.
    #[default]
    AdamW,
    /// As an L2 penalty (Kingma and Ba 2015): `g ← g + λ θ` before the moments.
    Adam,
}

/// The constants of [`Adam`]. The learning rate is given at each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// The form of weight decay.
    pub rule: Rule,
    /// The decay of the first moment per step, in `[0, 1)`.
    pub beta1: f64,
    /// The decay of the second moment per step, in `[0, 1)`.
    pub beta2: f64,
    /// The number that is added to the root of the second moment, above 0, for variables in f32 also when rounded to it.
    pub eps: f64,
    /// Weight decay λ, 0 or more.
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    /// AdamW with the paper's weight decay 1e-3 and the usual β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    fn default() -> Self {
        Self { rule: Rule::AdamW, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 1e-3 }
    }
}

/// The reason why an optimizer could not be made, stepped or restored.
#[derive(Debug, thiserror::Error)]
pub enum OptimError {
    /// A constant is out of its range.
    #[error("optimizer setting {name} is {value}, expected {expected}")]
    Config {
        /// The field of [`AdamConfig`], or `lr`, or the `rate` of [`Averages`].
        name: &'static str,
        /// Its value.
        value: f64,
        /// Its range in words.
        expected: &'static str,
    },
    /// Two variables have one name.
    #[error("two variables are called {name}")]
    DuplicateName {
        /// The name.
        name: String,
    },
    /// A variable has no gradient: it is not part of the loss.
    #[error("variable {name} received no gradient: it is not part of the loss")]
    MissingGradient {
        /// The variable.
        name: String,
    },
    /// The number of gradients is not the number of variables.
    #[error("{got} gradients for {expected} variables")]
    GradientCount {
        /// The number of variables.
        expected: usize,
        /// The number of gradients.
        got: usize,
    },
    /// A gradient, moment or average has another shape or element type than its variable.
    #[error("{what} of {name} is {got}, expected {expected}")]
    Mismatch {
        /// `gradient`, `first moment`, `second moment` or `average`.
        what: &'static str,
        /// The variable.
        name: String,
        /// The variable's shape and type.
        expected: String,
        /// The shape and type that were given.
        got: String,
    },
    /// A gradient is on another device than its variable.
    #[error("gradient of {name} is on another device than the variable")]
    Device {
        /// The variable.
        name: String,
    },
    /// The state to restore names a variable that does not exist, or lacks one that does.
    #[error("optimizer state does not fit: {name} {problem}")]
    StateNames {
        /// The variable.
        name: String,
        /// The fault in its state.
        problem: &'static str,
    },
    /// An error of the tensor library.
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl From<OptimError> for candle_core::Error {
    fn from(error: OptimError) -> Self {
        match error {
            OptimError::Candle(inner) => inner,
            other => Self::wrap(other),
        }
    }
}

/// One variable's moments, for [`Adam::restore`].
#[derive(Clone, Debug)]
pub struct Moments {
    /// The variable's name.
    pub name: String,
    /// The running mean of the gradient, shaped like the variable.
    pub first: Tensor,
    /// The running mean of the squared gradient, shaped like the variable.
    pub second: Tensor,
}

#[derive(Debug)]
struct Slot {
    name: String,
    var: Var,
    m: Tensor,
    v: Tensor,
}

/// Adam or AdamW over a fixed list of named variables.
///
/// With gradient g (plus `λ θ` under [`Rule::Adam`]) at step k = 1, 2, …:
/// `m ← β₁ m + (1−β₁) g`, `v ← β₂ v + (1−β₂) g²`, and
/// `θ ← θ (1 − lr λ) − lr · m̂ / (√v̂ + ε)` with `m̂ = m / (1−β₁ᵏ)`, `v̂ = v / (1−β₂ᵏ)`; the factor `1 − lr λ` only under
/// [`Rule::AdamW`]. The same as PyTorch's `Adam` and `AdamW`.
///
/// On the CPU in f32 and f64 parameters and moments are updated in place in one pass, each element on its own, so the
/// result does not depend on the number of threads. Values that are not finite pass through unchecked.
///
/// ```
/// use candle_core::{DType, Device, Var};
/// use noprop_kernels::optim::{Adam, AdamConfig};
///
/// let x = Var::new(&[4.0_f32], &Device::Cpu)?;
/// let mut adam = Adam::new(vec![("x".to_owned(), x.clone())], AdamConfig::default())?;
/// for _ in 0..200 {
///     let loss = x.as_tensor().sqr()?.sum_all()?;
///     adam.step(&loss.backward()?, 0.1)?;
/// }
/// assert!(x.to_vec1::<f32>()?[0].abs() < 0.1);
/// # Ok::<(), candle_core::Error>(())
/// ```
#[derive(Debug)]
pub struct Adam {
    slots: Vec<Slot>,
    config: AdamConfig,
    steps: u64,
}

impl Adam {
    /// An optimizer over `vars` with zero moments.
    ///
    /// # Errors
    /// [`OptimError::Config`] when a constant is out of range, [`OptimError::DuplicateName`] when two variables have one name.
    pub fn new(vars: Vec<(String, Var)>, config: AdamConfig) -> Result<Self, OptimError> {
        config.check()?;
        // In f32 a smaller number is 0, and 0 / 0 is not a number.
        if vars.iter().any(|(_, var)| var.dtype() == DType::F32) {
            in_range("eps", config.eps, config.eps as f32 > 0.0, "a number above 0 in f32")?;
        }
        one_of_each(&vars)?;
        let slots = vars.into_iter().map(|(name, var)| {
            let (m, v) = (var.zeros_like()?, var.zeros_like()?);
            Ok(Slot { name, var, m, v })
        });
        Ok(Self { slots: slots.collect::<Result<_, OptimError>>()?, config, steps: 0 })
    }

    /// One step at learning rate `lr` with the gradients of a backward pass.
    ///
    /// # Errors
    /// [`OptimError::MissingGradient`] when a variable has none; nothing is changed then. Also as [`Adam::step_with`].
    pub fn step(&mut self, grads: &GradStore, lr: f64) -> Result<(), OptimError> {
        let grads = self.slots.iter().map(|slot| {
            let missing = || OptimError::MissingGradient { name: slot.name.clone() };
            grads.get(&slot.var).cloned().ok_or_else(missing)
        });
        self.step_with(&grads.collect::<Result<Vec<_>, _>>()?, lr)
    }

    /// One step at learning rate `lr` with the caller's gradients, in the order of the variables.
    ///
    /// # Errors
    /// [`OptimError::Config`] unless `lr` is finite and not negative, [`OptimError::GradientCount`],
    /// [`OptimError::Mismatch`] or [`OptimError::Device`] when the gradients do not fit the variables; nothing is changed then.
    pub fn step_with(&mut self, grads: &[Tensor], lr: f64) -> Result<(), OptimError> {
        if grads.len() != self.slots.len() {
            return Err(OptimError::GradientCount { expected: self.slots.len(), got: grads.len() });
        }
        self.update(grads.iter().map(Some), lr)
    }

    /// One step at learning rate `lr` with the gradients of a backward pass. A variable without gradient stays as it is.
    ///
    /// # Errors
    /// As [`Adam::step_with`].
    #[cfg(feature = "nn")]
    pub(crate) fn step_present(&mut self, grads: &GradStore, lr: f64) -> Result<(), OptimError> {
        let grads: Vec<_> = self.slots.iter().map(|slot| grads.get(&slot.var).cloned()).collect();
        self.update(grads.iter().map(Option::as_ref), lr)
    }

    /// One step with a gradient, or none, for each variable.
    fn update<'a>(
        &mut self,
        grads: impl Iterator<Item = Option<&'a Tensor>> + Clone,
        lr: f64,
    ) -> Result<(), OptimError> {
        not_negative("lr", lr)?;
        for (slot, grad) in self.slots.iter().zip(grads.clone()) {
            let Some(grad) = grad else { continue };
            fits("gradient", &slot.name, &slot.var, grad)?;
            if grad.device().location() != slot.var.device().location() {
                return Err(OptimError::Device { name: slot.name.clone() });
            }
        }
        self.steps += 1;
        let coefficients = Coefficients::new(&self.config, self.steps, lr);
        for (slot, grad) in self.slots.iter_mut().zip(grads) {
            if let Some(grad) = grad {
                update::apply(&slot.var, &mut slot.m, &mut slot.v, grad, &coefficients)?;
            }
        }
        Ok(())
    }

    /// The constants that the optimizer was made with.
    #[must_use]
    pub fn config(&self) -> &AdamConfig {
        &self.config
    }

    /// The number of steps so far.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// The name, the first and the second moment of every variable, in the order given to [`Adam::new`].
    ///
    /// The tensors are the live ones, which a later step changes. Copy those that must stay.
    pub fn moments(&self) -> impl Iterator<Item = (&str, &Tensor, &Tensor)> {
        self.slots.iter().map(|slot| (slot.name.as_str(), &slot.m, &slot.v))
    }

    /// Restores the state of an earlier optimizer over variables of the same names and shapes, in any order.
    ///
    /// # Errors
    /// [`OptimError::StateNames`] when a name is missing, unknown or given twice, [`OptimError::Mismatch`] when a
    /// tensor does not have its variable's shape and type. Nothing is changed then.
    pub fn restore(&mut self, steps: u64, moments: Vec<Moments>) -> Result<(), OptimError> {
        let refused =
            |name: &str, problem| OptimError::StateNames { name: name.to_owned(), problem };
        for (index, Moments { name, .. }) in moments.iter().enumerate() {
            if !self.slots.iter().any(|slot| slot.name == *name) {
                return Err(refused(name, "is not a variable here"));
            }
            if moments[..index].iter().any(|other| other.name == *name) {
                return Err(refused(name, "is given twice"));
            }
        }
        let restored = self.slots.iter().map(|slot| {
            let moment = moments.iter().find(|moment| moment.name == slot.name);
            let moment = moment.ok_or_else(|| refused(&slot.name, "is missing"))?;
            // Copies, because steps write in place and the caller's tensors must not change.
            let copy = |what, tensor: &Tensor| {
                fits(what, &slot.name, &slot.var, tensor)?;
                let tensor = tensor.to_device(slot.var.device())?.force_contiguous()?;
                Ok::<_, OptimError>(tensor.copy()?.detach())
            };
            Ok((copy("first moment", &moment.first)?, copy("second moment", &moment.second)?))
        });
        let restored = restored.collect::<Result<Vec<_>, OptimError>>()?;
        for (slot, (m, v)) in self.slots.iter_mut().zip(restored) {
            (slot.m, slot.v) = (m, v);
        }
        self.steps = steps;
        Ok(())
    }
}

/// Checks that no two variables have one name.
fn one_of_each(vars: &[(String, Var)]) -> Result<(), OptimError> {
    let mut names: Vec<&str> = vars.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    match names.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(OptimError::DuplicateName { name: pair[0].to_owned() }),
        None => Ok(()),
    }
}

/// Checks that `tensor`, which is the `what` of the variable `name`, has the variable's shape and type.
fn fits(what: &'static str, name: &str, var: &Var, tensor: &Tensor) -> Result<(), OptimError> {
    let describe = |shape: &Shape, dtype| format!("{shape:?} {dtype:?}");
    if tensor.shape() == var.shape() && tensor.dtype() == var.dtype() {
        Ok(())
    } else {
        Err(OptimError::Mismatch {
            what,
            name: name.to_owned(),
            expected: describe(var.shape(), var.dtype()),
            got: describe(tensor.shape(), tensor.dtype()),
        })
    }
}

impl AdamConfig {
    fn check(&self) -> Result<(), OptimError> {
        let Self { beta1, beta2, eps, weight_decay, .. } = *self;
        let unit = 0.0..1.0;
        in_range("beta1", beta1, unit.contains(&beta1), "at least 0 and below 1")?;
        in_range("beta2", beta2, unit.contains(&beta2), "at least 0 and below 1")?;
        in_range("eps", eps, eps.is_finite() && eps > 0.0, "a finite number above 0")?;
        not_negative("weight_decay", weight_decay)
    }
}

fn not_negative(name: &'static str, value: f64) -> Result<(), OptimError> {
    in_range(name, value, value.is_finite() && value >= 0.0, "a finite number, 0 or more")
}

fn in_range(
    name: &'static str,
    value: f64,
    holds: bool,
    expected: &'static str,
) -> Result<(), OptimError> {
    if holds { Ok(()) } else { Err(OptimError::Config { name, value, expected }) }
}
