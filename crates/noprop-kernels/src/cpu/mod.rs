//! The basis of the fused kernels: vectors of the machine's width, a matrix product in registers, and buffers that outlive a
//! call.

pub(crate) mod arithmetic;
pub(crate) mod bf16;
pub(crate) mod columns;
pub(crate) mod exponential;
pub(crate) mod instruction_set;
pub(crate) mod product;
pub(crate) mod scratch;
pub(crate) mod simd;
pub(crate) mod storage;
pub(crate) mod total;
pub(crate) mod turn;
