//! Results that were computed outside candle's graph, put into it with their gradients.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Storage, Tensor, bail,
};

use super::operand::Fresh;

/// The gradients of a node's arguments from its result and the gradient there; `None` for an argument that needs none.
pub(super) type Backward = Box<dyn Fn(&Tensor, &Tensor) -> Result<Gradients> + Send + Sync>;

/// One for each argument.
pub(super) type Gradients = [Option<Tensor>; 3];

struct Node {
    name: &'static str,
    value: Mutex<Option<(Storage, Shape)>>,
    backward: Backward,
}

/// The tensor `value`, as a function of up to three `arguments`.
pub(super) fn node(
    name: &'static str,
    arguments: &[&Tensor],
    value: Fresh,
    backward: Backward,
) -> Result<Tensor> {
    if !arguments.iter().any(|argument| argument.track_op()) {
        return Ok(value.tensor());
    }
    let node = Node { name, value: Mutex::new(Some(value.into_parts())), backward };
    let Some(first) = arguments.first() else { bail!("{name}: a node has one to three arguments") };
    // The tensor in place of a missing argument has no gradient.
    let none = first.detach();
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(&none);
    first.apply_op3(argument(1), argument(2), node)
}

impl Node {
    fn take(&self) -> Result<(Storage, Shape)> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(value) = value else { bail!("{}: computed twice", self.name) };
        Ok(value)
    }
}

impl CustomOp3 for Node {
    fn name(&self) -> &'static str {
        self.name
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        match self.take()? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => bail!("{}: arguments on different devices", self.name),
        }
    }

    fn cuda_fwd(
        &self,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        match self.take()? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => bail!("{}: arguments on different devices", self.name),
        }
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        result: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [a, b, c] = (self.backward)(result, gradient)?;
        Ok((a, b, c))
    }
}
