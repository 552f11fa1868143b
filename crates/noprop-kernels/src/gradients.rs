//! The backward pass: candle's, without zeros below the gradients of variables.
//!
//! candle adds each gradient that an op gives to a tensor of zeros. For the weights of dense layers that is more memory traffic than the
//! update of the optimizer. A dense layer hands the gradients of its parameters over as they are.

use std::cell::RefCell;

use candle_core::backprop::GradStore;
use candle_core::{Result, Tensor};

thread_local! {
    /// The gradients of variables that ops handed over in the backward pass that this thread is in; `None` outside of [`backward`].
    static HANDED_OVER: RefCell<Option<GradStore>> = const { RefCell::new(None) };
}

/// A backward pass of this thread, until it is dropped. Passes nest: a thread that waits in one may take another block's turn.
struct Pass(Option<GradStore>);

impl Pass {
    fn begin() -> Self {
        Self(HANDED_OVER.replace(Some(GradStore::default())))
    }
}

impl Drop for Pass {
    /// Goes on with the pass around this one, also after a panic.
    fn drop(&mut self) {
        HANDED_OVER.set(self.0.take());
    }
}

/// Returns the gradients of `loss`, as [`Tensor::backward`] does, and faster where variables are parameters of [`Linear`](crate::Linear) layers.
///
/// ```
/// use candle_core::{DType, Device, Tensor, Var};
/// use noprop_kernels::{Linear, backward};
///
/// let x = Tensor::ones((1, 4, 3), DType::F32, &Device::Cpu)?;
/// let w = Var::ones((1, 5, 3), DType::F32, &Device::Cpu)?;
/// let b = Var::zeros((1, 5), DType::F32, &Device::Cpu)?;
/// let loss = Linear::default().forward(&x, &w, &b)?.sum_all()?;
/// let gradients = backward(&loss)?;
/// assert_eq!(gradients.get(&b).map(Tensor::dims), Some(&[1, 5][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// As [`Tensor::backward`].
pub fn backward(loss: &Tensor) -> Result<GradStore> {
    let _pass = Pass::begin();
    let mut gradients = loss.backward()?;
    if let Some(handed_over) = HANDED_OVER.take() {
        gradients.extend(handed_over)?;
    }
    Ok(gradients)
}

/// Hands the gradient of a parameter over if that is a variable and [`backward`] asks for it. Returns what is left for candle to add.
///
/// Only for parameters that other ops do not use as a rule: the order of their sum changes.
pub(crate) fn hand_over(parameter: &Tensor, gradient: Option<Tensor>) -> Result<Option<Tensor>> {
    let asked = HANDED_OVER.with_borrow(Option::is_some);
    let new = match gradient {
        Some(new) if asked && parameter.is_variable() => new,
        other => return Ok(other),
    };
    // The store is not borrowed while tensors are added: a thread that waits for others in an addition may begin another pass.
    let before = HANDED_OVER.with_borrow(|store| store.as_ref()?.get(parameter).cloned());
    let sum = match before {
        Some(before) => before.add(&new)?,
        None => new,
    };
    HANDED_OVER.with_borrow_mut(|store| store.as_mut()?.insert(parameter, sum));
    Ok(None)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device, Var};

    use super::*;
    use crate::Linear;

    /// Protects the sum for a variable that several ops of this crate and of candle use, in a pass within a pass too, and that candle's own
    /// pass still finds every gradient afterwards.
    #[test]
    fn gradients_are_those_of_candle() -> std::result::Result<(), Box<dyn std::error::Error>> {
        let x = Tensor::arange(0f32, 12., &Device::Cpu)?.reshape((1, 4, 3))?;
        let w = Var::from_tensor(&Tensor::arange(0f32, 9., &Device::Cpu)?.reshape((1, 3, 3))?)?;
        let b = Var::zeros((1, 3), DType::F32, &Device::Cpu)?;
        let layer = Linear::default();
        let twice = layer.forward(&layer.forward(&x, &w, &b)?, &w, &b)?;
        let loss = (twice.sum_all()? + w.sqr()?.sum_all()?)?;
        let read = |gradients: &GradStore, var: &Var| {
            gradients.get(var).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap()
        };
        let expected = loss.backward()?;
        let outer = Pass::begin();
        let found = backward(&loss)?;
        drop(outer);
        let afterwards = loss.backward()?;
        for var in [&w, &b] {
            assert_eq!(read(&found, var), read(&expected, var));
            assert_eq!(read(&afterwards, var), read(&expected, var));
        }
        Ok(())
    }
}
