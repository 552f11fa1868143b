//! The interface of a method: the losses that train a chain of blocks, and the chain that classifies.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};
use noprop_schedule::Schedule;

use crate::pointer::through_pointer;
use crate::readout::softmax;
use crate::{
    Chain, Denoiser, Draws, MethodError, Needs, Partition, Sampler, StackedBlocks, Targets,
};

/// A method of training a chain of blocks, with its settings: discrete time, continuous time, flow matching, a baseline, or one
/// that you write.
///
/// A chain has B blocks, each of which owns a set of noise levels. In discrete time a block has one level.
pub trait Method: Send + Sync {
    /// Returns B, the number of blocks.
    fn blocks(&self) -> usize;

    /// Returns the demands of the method on a network.
    fn needs(&self) -> Needs;

    /// Returns the losses that train the blocks.
    fn losses(&self) -> Losses<'_>;

    /// Returns the intervals of time that the blocks own; `None` in discrete time.
    fn partition(&self) -> Option<&Partition> {
        None
    }

    /// Returns the noise levels of a trained network and the weight of each, for figures; `None` if the method has no noise
    /// schedule. `levels` is their number in continuous time.
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

    /// Returns the class probabilities [N, classes] of the last embedding `z` [N, d]. They are those of the readout unless the
    /// method has another rule.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        Ok(softmax(&network.readout(z)?)?)
    }

    /// Returns KL(q(z_0|y) ‖ N(0, I)) in nats, averaged over the classes. It measures the information about the label in z_0 in
    /// training, which z_0 at inference does not have. It is 0 if the chain starts from pure noise in training too.
    ///
    /// # Errors
    /// candle's, if the embeddings are not f32 of rank 2.
    fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError> {
        let _ = network;
        Ok(0.0)
    }

    /// Returns the chain that classifies a batch of images.
    ///
    /// `features(block)` returns the output of that block's image branch for the images.
    ///
    /// # Errors
    /// [`MethodError`] if the network or the sampler does not fit the method.
    fn chain<'a>(
        &'a self,
        network: &'a dyn Denoiser,
        features: &'a dyn Fn(usize) -> Tensor,
        sampler: &Sampler,
    ) -> Result<Box<dyn Chain + 'a>, MethodError>;
}

/// The noise levels of a chain.
#[derive(Debug, Clone)]
pub struct NoiseLevels {
    /// ᾱ of every level.
    pub schedule: Schedule,
    /// The factor of the error at each step between two levels.
    pub weights: Vec<f64>,
}

/// The losses of a method.
#[derive(Clone, Copy)]
pub enum Losses<'a> {
    /// One loss for every block, as in NoProp.
    Blockwise(&'a dyn Blockwise),
    /// One loss at the end of the chain, as in the baselines.
    EndToEnd(&'a dyn EndToEnd),
}

/// A loss for each block, whose gradient does not reach the other blocks.
pub trait Blockwise: Send + Sync {
    /// Returns the loss of block `block` (1..=B) on the N images of `targets`. `features` is the output of the block's image
    /// branch.
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

    /// Returns the separate loss of the readout; `None` if the blocks' losses train the readout.
    fn readout_loss(&self) -> Option<&dyn ReadoutLoss>;

    /// Returns the losses of all blocks in one call on `device`; `None` if the method computes blocks only one by one.
    ///
    /// # Errors
    /// candle's.
    fn stacked(&self, device: &Device) -> Result<Option<Box<dyn StackedLosses + '_>>, MethodError> {
        let _ = device;
        Ok(None)
    }
}

/// A loss only on the last embedding. It does not depend on any block.
pub trait ReadoutLoss {
    /// Returns the loss on a batch, a scalar: the cross-entropy of the readout, plus further terms at the ends of the chain.
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

/// One loss at the end of the chain. The method propagates its gradient to every block.
pub trait EndToEnd: Send + Sync {
    /// Returns the loss on a batch, with its gradients in the whole network. `features(block)` runs that block's image branch.
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

/// The loss of one block over a batch.
#[derive(Debug, Clone)]
pub struct BlockLoss {
    /// The value that is differentiated: a scalar, weighted by block and by image.
    pub loss: Tensor,
    /// The mean over the batch of the unweighted squared distance between what the block guesses and what it should guess: a scalar
    /// that can be compared between blocks. It is ‖û − u_y‖², and in flow matching, whose block guesses a velocity, ‖v − (u_y − z_0)‖².
    pub error: Tensor,
}

impl BlockLoss {
    /// Returns a loss without a distance: its error is its value.
    pub fn plain(loss: Tensor) -> Self {
        Self { error: loss.detach(), loss }
    }
}

/// A loss with its gradients.
#[derive(Debug)]
pub struct Differentiated {
    /// The loss, a scalar.
    pub loss: Tensor,
    /// The gradient of every trainable parameter.
    pub gradients: GradStore,
}

/// The losses of all blocks in one call.
pub trait StackedLosses: Send + Sync {
    /// Returns loss and error of each block, `[T]`. They are those of [`Blockwise::block_loss`], with the same draws.
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

through_pointer! {
    Method {
        fn blocks(&self) -> usize;
        fn needs(&self) -> Needs;
        fn losses(&self) -> Losses<'_>;
        fn partition(&self) -> Option<&Partition>;
        fn noise_levels(
            &self,
            network: &dyn Denoiser,
            levels: usize
        ) -> Result<Option<NoiseLevels>, MethodError>;
        fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError>;
        fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError>;
        fn chain<'a>(
            &'a self,
            network: &'a dyn Denoiser,
            features: &'a dyn Fn(usize) -> Tensor,
            sampler: &Sampler
        ) -> Result<Box<dyn Chain + 'a>, MethodError>;
    }
}
