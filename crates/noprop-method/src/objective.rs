//! What every variant of NoProp has in common: a loss for each block, and a chain that classifies.

use candle_core::backprop::GradStore;
use candle_core::{Device, Tensor};

use crate::discrete_time::softmax;
use crate::{Denoiser, Draws, MethodError, Sampler, Seed, StackedLosses, Targets};

/// One block's loss over a batch.
#[derive(Debug, Clone)]
pub struct BlockLoss {
    /// The value that is differentiated: a scalar, weighted by block and by image.
    pub loss: Tensor,
    /// The unweighted mean squared distance ‖û − u_y‖² over the batch: a scalar, comparable between blocks.
    pub error: Tensor,
}

/// A loss with its gradients, however they were found.
#[derive(Debug)]
pub struct Differentiated {
    /// A scalar.
    pub loss: Tensor,
    /// The gradient of every trainable parameter.
    pub gradients: GradStore,
}

/// What the chain of blocks went through for a batch.
#[derive(Debug, Clone)]
pub struct Trajectory {
    /// The last embedding, [N, d].
    pub z: Tensor,
    /// Class probabilities that each block gave, B tensors [N, classes]; none where a block alone has no answer.
    pub per_block: Vec<Tensor>,
}

/// What gets a loss of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Training {
    /// Every block, and the readout: NoProp.
    Blockwise,
    /// Only the end of the chain, and its gradient is brought to the blocks: the baselines.
    EndToEnd,
}

/// Which loss trains the readout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum ReadoutTraining {
    /// One of its own, on the last embedding alone: [`Objective::readout_loss`].
    #[default]
    Own,
    /// Those of the blocks, which all reach it: [`Objective::block_loss`].
    WithBlocks,
}

/// A variant of NoProp: discrete time, continuous time, flow matching, or one of your own.
///
/// A model is B blocks, each owning a set of noise levels. A discrete-time model has one level a block.
pub trait Objective: Sync {
    /// B, the number of blocks.
    fn blocks(&self) -> usize;

    /// The loss of block `block` (1..=B), which sends no gradient to any other block.
    ///
    /// `features` is what the encoder made of the N images of `targets`.
    ///
    /// # Errors
    /// [`MethodError`] if the network does not fit the objective; [`MethodError::EndToEnd`] where only the end of the chain has a
    /// loss.
    fn block_loss(
        &self,
        network: &dyn Denoiser,
        block: usize,
        features: &Tensor,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<BlockLoss, MethodError> {
        let _ = (network, block, features, targets, draws);
        Err(MethodError::EndToEnd)
    }

    /// The readout's cross-entropy, a scalar; it depends on no block.
    ///
    /// # Errors
    /// As for [`Self::block_loss`].
    fn readout_loss(
        &self,
        network: &dyn Denoiser,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Tensor, MethodError> {
        let _ = (network, targets, draws);
        Err(MethodError::EndToEnd)
    }

    /// The losses of all blocks in one call, on `device`; none where a method takes blocks one by one.
    ///
    /// # Errors
    /// candle's.
    fn stacked(&self, device: &Device) -> Result<Option<Box<dyn StackedLosses + '_>>, MethodError> {
        let _ = device;
        Ok(None)
    }

    /// What gets a loss of its own.
    fn training(&self) -> Training {
        Training::Blockwise
    }

    /// Which loss trains the readout.
    fn readout_training(&self) -> ReadoutTraining {
        ReadoutTraining::Own
    }

    /// The loss at the end of the chain and its gradients in the whole network; how they get there is the method's affair.
    /// `features(block)` runs that block's image branch, and gives what it makes of the images.
    ///
    /// # Errors
    /// [`MethodError::Blockwise`] where every block has a loss of its own.
    fn end_to_end(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Result<Tensor, MethodError>,
        targets: Targets<'_>,
        draws: Draws,
    ) -> Result<Differentiated, MethodError> {
        let _ = (network, features, targets, draws);
        Err(MethodError::Blockwise)
    }

    /// The class probabilities that the last embedding `z` [N, d] stands for, [N, classes]: the readout's, unless a method has
    /// another way to answer.
    ///
    /// # Errors
    /// candle's, for tensors of the wrong shape.
    fn answer(&self, network: &dyn Denoiser, z: &Tensor) -> Result<Tensor, MethodError> {
        Ok(softmax(&network.readout(z)?)?)
    }

    /// KL(q(z_0|y) ‖ N(0, I)) in nats, averaged over the classes: the part of the loss that says how much z_0 tells of the
    /// label. Well above 0, training starts from something that inference does not have.
    ///
    /// # Errors
    /// candle's, if the embeddings are not f32 of rank 2.
    fn kl_to_prior(&self, network: &dyn Denoiser) -> Result<f64, MethodError>;

    /// From noise `z` [N, d] through all blocks, given each block's `features`.
    ///
    /// `features(block)` gives what that block's image branch made of the images; `rows` names the images, so that each
    /// draws its own noise wherever it stands in the batch.
    ///
    /// # Errors
    /// As for [`Self::block_loss`].
    fn denoise(
        &self,
        network: &dyn Denoiser,
        features: &dyn Fn(usize) -> Tensor,
        z: Tensor,
        noise: Noise<'_>,
    ) -> Result<Trajectory, MethodError>;
}

/// Where a chain's noise comes from.
#[derive(Debug, Clone, Copy)]
pub struct Noise<'a> {
    /// Which sampler.
    pub sampler: &'a Sampler,
    /// The run's number, from 0.
    pub run: u32,
    /// One id an image.
    pub rows: &'a [u32],
}

impl Noise<'_> {
    /// The seed of all draws.
    pub fn seed(&self) -> Seed {
        self.sampler.seed
    }
}
