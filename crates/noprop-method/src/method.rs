//! The interface of a method: the losses that train a chain of blocks, and the chain that classifies.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use noprop_schedule::Schedule;

use crate::readout::softmax;
use crate::{Denoiser, Draws, MethodError, Needs, Noise, Partition, StackedBlocks, Targets};

/// A method of training a chain of blocks, with its settings: discrete time, continuous time, flow matching, a baseline, or one that
/// you write.
///
/// A chain is B blocks, each owning a set of noise levels. In discrete time a block has one level.
pub trait Method: Send + Sync {
    /// B, the number of blocks.
    fn blocks(&self) -> usize;

    /// The demands of the method on a network.
    fn needs(&self) -> Needs;

    /// The losses that train the blocks.
    fn losses(&self) -> Losses<'_>;

    /// The intervals of time that the blocks own; `None` where time is discrete.
    fn partition(&self) -> Option<&Partition> {
        None
    }

    /// The noise levels of a trained network and the weight of each, for figures: `levels` of them where time is continuous. `None`
    /// where the method has no noise schedule.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the method.
    fn noise_levels(
        &self,
        network: &dyn Denoiser,
        levels: usize,
    ) -> Result<Option<NoiseLevels>, MethodError> {
        let _ = (network, levels);
        Ok(None)
    }

    /// The class probabilities [N, classes] of the last embedding `z` [N, d]: the readout's, unless the method has another rule.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        Ok(softmax(&network.readout(z)?)?)
    }

    /// KL(q(z_0|y) ‖ N(0, I)) in nats, the mean over the classes: how much z_0 reveals of the label. Well above 0, training starts
    /// from something that inference does not have. It is 0 where the chain starts from noise in training too.
    ///
    /// # Errors
    /// candle's, if the embeddings are not f32 of rank 2.
    fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError> {
        let _ = network;
        Ok(0.0)
    }

    /// Takes the noise `z` [N, d] through all blocks.
    ///
    /// `features(block)` returns the output of that block's image branch for the images. `noise` names the images, so that an image's
    /// draws do not depend on its place in the batch.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the method.
    fn denoise(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Tensor,
        z: Tensor,
        noise: Noise<'_>,
    ) -> Result<Trajectory, MethodError>;
}

/// The noise levels of a chain.
#[derive(Debug, Clone)]
pub struct NoiseLevels {
    /// ᾱ of every level.
    pub schedule: Schedule,
    /// The factor before the error at each step between two levels.
    pub weights: Vec<f64>,
}

/// The losses of a method.
#[derive(Clone, Copy)]
pub enum Losses<'a> {
    /// One for every block: NoProp.
    Blockwise(&'a dyn Blockwise),
    /// One, at the end of the chain: the baselines.
    EndToEnd(&'a dyn EndToEnd),
}

/// A loss for each block, which reaches no other block.
pub trait Blockwise: Send + Sync {
    /// The loss of block `block` (1..=B) on the N images of `targets`, whose image branch returned `features`.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the method.
    fn block_loss(
        &self,
        network: &dyn Denoiser,
        block: usize,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError>;

    /// The readout's own loss; `None` where the blocks' losses train it.
    fn readout_loss(&self) -> Option<&dyn ReadoutLoss>;

    /// The losses of all blocks in one call on `device`; `None` where the method takes blocks one by one.
    ///
    /// # Errors
    /// candle's.
    fn stacked(&self, device: &Device) -> Result<Option<Box<dyn StackedLosses + '_>>, MethodError> {
        let _ = device;
        Ok(None)
    }
}

/// A loss on the last embedding alone, which depends on no block.
pub trait ReadoutLoss {
    /// The loss on a batch, a scalar: the cross-entropy of the readout, and what else the ends of the chain add to it.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the method.
    fn loss(
        &self,
        network: &dyn Denoiser,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Tensor, MethodError>;
}

/// One loss at the end of the chain, whose gradient the method carries to every block.
pub trait EndToEnd: Send + Sync {
    /// The loss on a batch, with its gradients in the whole network. `features(block)` runs that block's image branch.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the method.
    fn end_to_end(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Result<Tensor, MethodError>,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Differentiated, MethodError>;
}

/// One block's loss over a batch.
#[derive(Debug, Clone)]
pub struct BlockLoss {
    /// The value that is differentiated: a scalar, weighted by block and by image.
    pub loss: Tensor,
    /// The unweighted mean squared distance ‖û − u_y‖² over the batch: a scalar, comparable between blocks.
    pub error: Tensor,
}

impl BlockLoss {
    /// A loss that has no distance beside it: its error is its value.
    pub fn plain(loss: Tensor) -> Self {
        Self { error: loss.detach(), loss }
    }
}

/// A loss with its gradients, however they were found.
#[derive(Debug)]
pub struct Differentiated {
    /// A scalar.
    pub loss: Tensor,
    /// The gradient of every trainable parameter.
    pub gradients: GradStore,
}

/// The path of a batch through the chain of blocks.
#[derive(Debug, Clone)]
pub struct Trajectory {
    /// The last embedding, [N, d].
    pub z: Tensor,
    /// The class probabilities of each block, B tensors [N, classes]; empty where a block alone has no answer.
    pub per_block: Vec<Tensor>,
}

/// The losses of all blocks in one call.
pub trait StackedLosses: Send + Sync {
    /// Loss and error of each block, `[T]`: those of [`Blockwise::block_loss`], with the same draws.
    ///
    /// # Errors
    /// As for [`Blockwise::block_loss`].
    fn losses(
        &self,
        network: &dyn Denoiser,
        blocks: &dyn StackedBlocks,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError>;
}

/// Passes [`Method`] on to the method that a pointer holds.
macro_rules! through_pointer {
    ($(impl<$param:ident> for $pointer:ty;)+) => {$(
        impl<$param: Method + ?Sized> Method for $pointer {
            fn blocks(&self) -> usize {
                (**self).blocks()
            }

            fn needs(&self) -> Needs {
                (**self).needs()
            }

            fn losses(&self) -> Losses<'_> {
                (**self).losses()
            }

            fn partition(&self) -> Option<&Partition> {
                (**self).partition()
            }

            fn noise_levels(
                &self,
                network: &dyn Denoiser,
                levels: usize,
            ) -> Result<Option<NoiseLevels>, MethodError> {
                (**self).noise_levels(network, levels)
            }

            fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
                (**self).answer(network, z)
            }

            fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError> {
                (**self).kl_to_prior(network)
            }

            fn denoise(
                &self,
                network: &dyn Denoiser,
                features: &dyn Fn(usize) -> Tensor,
                z: Tensor,
                noise: Noise<'_>,
            ) -> Result<Trajectory, MethodError> {
                (**self).denoise(network, features, z, noise)
            }
        }
    )+};
}

through_pointer! {
    impl<M> for &M;
    impl<M> for Box<M>;
    impl<M> for std::sync::Arc<M>;
}
