//! Whole trainings: the guarantees of every method, engine and checkpoint.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod adjoint;
mod averages;
mod backbones;
mod batched;
mod case;
mod clipping;
mod distributed;
mod independence;
mod killed;
mod methods;
mod networks;
mod order;
mod patience;
mod pause;
mod saving;
mod support;
mod trainer;
