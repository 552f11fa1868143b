//! What the fused kernels stand on: vectors of whatever width the machine has, a matrix product in registers, and
//! buffers that outlive a call.

pub(crate) mod arithmetic;
pub(crate) mod bf16;
pub(crate) mod columns;
pub(crate) mod instruction_set;
pub(crate) mod product;
pub(crate) mod scratch;
pub(crate) mod simd;
pub(crate) mod storage;
pub(crate) mod turn;
