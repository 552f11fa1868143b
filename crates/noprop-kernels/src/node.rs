//! Results that were computed outside candle's graph, put into it with their gradients.

use std::sync::{Mutex, PoisonError};

use candle_core::{
    CpuStorage, CudaStorage, CustomOp3, Device, Layout, Result, Shape, Storage, Tensor, WithDType,
    bail,
};

/// The gradients of a node's arguments, one for each; `None` for an argument that needs none.
pub(crate) type Gradients = [Option<Tensor>; 3];

/// A result that candle does not have yet.
pub(crate) type Value = (Storage, Shape);

/// A result on the CPU.
pub(crate) fn on_cpu<F: WithDType>(elements: Vec<F>, shape: impl Into<Shape>) -> Value {
    (Storage::Cpu(F::to_cpu_storage_owned(elements)), shape.into())
}

/// An argument's gradient on the CPU.
pub(crate) fn gradient<F: WithDType>(
    elements: Vec<F>,
    shape: impl Into<Shape>,
) -> Result<Option<Tensor>> {
    Tensor::from_vec(elements, shape.into(), &Device::Cpu).map(Some)
}

/// The tensor `value`, as a function of up to three `arguments`. `backward` makes their gradients from the result and the gradient
/// there.
pub(crate) fn node(
    name: &'static str,
    arguments: &[&Tensor],
    value: Value,
    backward: impl Fn(&Tensor, &Tensor) -> Result<Gradients> + Send + Sync + 'static,
) -> Result<Tensor> {
    if !arguments.iter().any(|argument| argument.track_op()) {
        let none = candle_core::op::BackpropOp::none();
        return Ok(Tensor::from_storage(value.0, value.1, none, false));
    }
    let node = Node { name, value: Mutex::new(Some(value)), backward };
    let Some(first) = arguments.first() else { bail!("{name}: a node has one to three arguments") };
    // The tensor in place of a missing argument has no gradient.
    let none = first.detach();
    let argument = |index: usize| arguments.get(index).copied().unwrap_or(&none);
    first.apply_op3(argument(1), argument(2), node)
}

struct Node<B> {
    name: &'static str,
    value: Mutex<Option<Value>>,
    backward: B,
}

impl<B> Node<B> {
    fn take(&self) -> Result<Value> {
        let value = self.value.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(value) = value else { bail!("{}: computed twice", self.name) };
        Ok(value)
    }
}

impl<B: Fn(&Tensor, &Tensor) -> Result<Gradients>> CustomOp3 for Node<B> {
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
