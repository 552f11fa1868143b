//! The memory of a training, estimated before anything large is made.

use candle_core::Device;
use noprop_method::{Denoiser, EncoderKind, Needs, ParameterBuilder, Seed};

use crate::image_branch::ImageInput;
use crate::{Backbone, Embedding, EmbeddingStart, ImageShape, ModelError, Network, NetworkConfig};

/// Bytes of an f32.
const NUMBER: u64 = 4;
/// A parameter and Adam's two moments of it.
const COPIES: u64 = 3;
/// Values that the layers behind an image branch keep, for each image.
const KEPT_BY_HEAD: u64 = 8_000;

impl NetworkConfig {
    /// The number of values in all parameters of this network.
    ///
    /// Networks of one block and of two are built for the smallest images and counted, and the growth with images and blocks is
    /// added, so that no memory of this network's size is taken.
    ///
    /// # Errors
    /// [`ModelError`] for settings that do not go together.
    pub fn count_parameters(&self) -> Result<u64, ModelError> {
        self.check()?;
        let side = self.backbone.side(*ImageShape::SIDES.start());
        let image = ImageShape { channels: self.image.channels, height: side, width: side };
        let counted = |blocks| {
            // Orthogonal rows would take long to make.
            let start = self.embedding.is_trained().then_some(EmbeddingStart::Random);
            let needs = Needs { blocks, ..self.needs };
            let small = Self { image, needs, embedding_start: start, ..self.clone() };
            let network = Network::new(&small, ParameterBuilder::seeded(Seed(0), &Device::Cpu))?;
            let counts = network.parameters().iter().map(|parameter| parameter.var.elem_count());
            Ok::<u64, ModelError>(counts.map(|count| count as u64).sum())
        };
        let (one, two) = (counted(1)?, counted(2)?);
        let blocks = self.needs.blocks as u64;
        let small = one + (blocks - 1) * (two - one);
        let encoders = if self.encoder == EncoderKind::PerBlock { blocks } else { 1 };
        let labels = if self.embedding == Embedding::Prototype { blocks } else { 0 };
        let growing = |backbone: Backbone, shape| {
            backbone.growing(ImageInput { shape, ..self.image_input() })
        };
        // Dense layers can be smaller than those that were counted.
        let mut count = small + encoders * growing(self.backbone, self.image)
            - encoders * growing(self.backbone, image);
        if labels > 0 {
            let branch = Backbone::Paper;
            count += labels * (growing(branch, self.image) - growing(branch, image));
        }
        if self.embedding == Embedding::Prototype {
            // The matrix, its start and a trained readout have a column a pixel.
            let pixels = (self.image.pixels() - image.pixels()) as u64;
            let matrices = if self.readout().is_some() { 3 } else { 2 };
            count += matrices * self.classes as u64 * pixels;
        }
        Ok(count)
    }

    /// The bytes of a training's weights and of their moments.
    ///
    /// # Errors
    /// As for [`Self::count_parameters`].
    pub fn weight_bytes(&self) -> Result<u64, ModelError> {
        Ok(self.count_parameters()? * COPIES * NUMBER)
    }

    /// The bytes, roughly, that a step with `batch` images keeps for its backward passes while `at_once` blocks are trained at a time.
    pub fn step_bytes(&self, batch: usize, at_once: usize) -> u64 {
        let at_once = at_once.min(self.needs.blocks) as u64;
        let encoders = match self.encoder {
            EncoderKind::PerBlock => at_once,
            EncoderKind::Shared => 1,
            EncoderKind::Frozen => 0,
        };
        let labels = if self.embedding == Embedding::Prototype { at_once } else { 0 };
        let kept = |backbone: Backbone| backbone.kept(self.image_input());
        let encoders = encoders.saturating_mul(kept(self.backbone));
        let branches = encoders.saturating_add(labels.saturating_mul(kept(Backbone::Paper)));
        (branches.saturating_add(at_once * KEPT_BY_HEAD)).saturating_mul(batch as u64 * NUMBER)
    }
}

#[cfg(test)]
mod tests {
    use noprop_method::Readout;

    use super::*;

    /// An estimate that forgets a branch would let a training begin that runs out of memory.
    #[test]
    fn counts_what_is_built() {
        let image = ImageShape { channels: 3, height: 20, width: 30 };
        for encoder in [EncoderKind::Shared, EncoderKind::PerBlock, EncoderKind::Frozen] {
            for embedding in
                [Embedding::Onehot, Embedding::Learned { dimension: 7 }, Embedding::Prototype]
            {
                let config =
                    NetworkConfig::new(image, 4, Needs::discrete_time(3, Readout::Softmax))
                        .unwrap();
                for backbone in ["paper", "mlp:24,2", "resnet:4", "vit:32,2,10"] {
                    let backbone = backbone.parse().unwrap();
                    let config =
                        config.clone().encoder(encoder).embedding(embedding).backbone(backbone);
                    let source = ParameterBuilder::seeded(Seed(0), &Device::Cpu);
                    let network = Network::new(&config, source).unwrap();
                    let built: usize =
                        network.parameters().iter().map(|p| p.var.elem_count()).sum();
                    let counted = config.count_parameters().unwrap();
                    assert_eq!(counted, built as u64, "{encoder} {embedding} {backbone}");
                }
            }
            let plain = NetworkConfig::new(image, 4, Needs::plain_classifier()).unwrap();
            let plain = plain.encoder(encoder);
            let source = ParameterBuilder::seeded(Seed(0), &Device::Cpu);
            let network = Network::new(&plain, source).unwrap();
            let built: usize = network.parameters().iter().map(|p| p.var.elem_count()).sum();
            assert_eq!(plain.count_parameters().unwrap(), built as u64, "{encoder}, plain");
        }
    }

    /// Dense layers take images that are smaller than those that the count begins with, and wide ones: the features of a table.
    #[test]
    fn counts_what_is_built_for_images_that_no_convolution_takes() {
        for (height, width, backbone) in
            [(8, 8, "mlp:24,2"), (1, 2, "mlp:24,1"), (1, 2000, "mlp:4,1"), (8, 8, "vit:32,1,4")]
        {
            let image = ImageShape { channels: 1, height, width };
            let config = NetworkConfig::new(image, 4, Needs::discrete_time(3, Readout::Softmax));
            let config = config.unwrap().backbone(backbone.parse().unwrap());
            let source = || ParameterBuilder::seeded(Seed(0), &Device::Cpu);
            let network = Network::new(&config, source()).unwrap();
            let built: usize = network.parameters().iter().map(|p| p.var.elem_count()).sum();
            assert_eq!(config.count_parameters().unwrap(), built as u64, "{backbone}");
            for other in
                [config.clone().backbone(Backbone::Paper), config.embedding(Embedding::Prototype)]
            {
                assert!(Network::new(&other, source()).is_err(), "{height} x {width}");
                assert!(other.count_parameters().is_err(), "{height} x {width}");
            }
        }
    }

    /// A thousand blocks for the largest images are counted without being built.
    #[test]
    fn a_network_that_no_machine_holds_is_counted() {
        let image = ImageShape { channels: 3, height: 1024, width: 1024 };
        let needs = Needs::discrete_time(1000, Readout::Softmax);
        let config = NetworkConfig::new(image, 10, needs).unwrap();
        let bytes = config.encoder(EncoderKind::PerBlock).weight_bytes().unwrap();
        assert!(bytes > 20_000_000_000_000, "{bytes}");
    }
}
