//! One step of one unit: batch, loss, gradients, update.

use candle_core::backprop::GradStore;
use candle_core::{Tensor, Var};
use noprop_data::{Split, epoch_order};
use noprop_kernels::optim::{Adam, AdamConfig, Rule};
use noprop_method::{
    BlockLoss, Denoiser, Draws, EncoderKind, Objective, Parameter, Part, Pass, Seed,
};

use crate::{LearningRate, OptimizerKind, TrainConfig, TrainError, Unit};

/// Images that go through a frozen encoder at a time.
const FROZEN_CHUNK: usize = 512;

/// Trains the units of a network. See the crate's documentation for what a unit is.
pub struct Trainer<'a> {
    network: &'a dyn Denoiser,
    objective: &'a dyn Objective,
    train: &'a Split,
    config: TrainConfig,
    seed: Seed,
    rate: LearningRate,
    steps_per_epoch: u32,
    pub(crate) units: Vec<UnitState>,
    /// What a frozen encoder makes of every training image, computed once.
    frozen_features: Option<Tensor>,
    /// The batch that the units of one step share.
    batch: Option<Batch>,
    /// The order of one epoch's images.
    order: Option<(u32, Vec<u32>)>,
}

/// A unit, its optimizer, and how far it is.
pub(crate) struct UnitState {
    pub unit: Unit,
    pub adam: Adam,
    pub trained: Vec<Parameter>,
    /// Steps done since the beginning of training.
    pub position: u64,
}

#[derive(Clone)]
struct Batch {
    epoch: u32,
    step: u32,
    images: Tensor,
    labels: Tensor,
}

/// The loss of one part of the network in one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PartLoss {
    /// A block or the readout.
    pub part: Part,
    /// What was minimised.
    pub loss: f32,
    /// Mean ‖û − u_y‖² of a block, cross-entropy of the readout: comparable between blocks.
    pub error: f32,
}

/// What one step of one unit did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// Epoch, counted from 1.
    pub epoch: u32,
    /// Step of the epoch, counted from 1.
    pub step: u32,
    /// The learning rate.
    pub lr: f64,
    /// Images in the batch.
    pub images: usize,
    /// The losses of the unit's blocks, or of the readout.
    pub losses: Vec<PartLoss>,
}

impl<'a> Trainer<'a> {
    /// A trainer at the beginning of training. A frozen encoder sees all training images here, once.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] for settings that do not fit the data; candle's for images that do not fit the network.
    pub fn new(
        network: &'a dyn Denoiser,
        objective: &'a dyn Objective,
        train: &'a Split,
        config: TrainConfig,
        seed: Seed,
    ) -> Result<Self, TrainError> {
        config.validate(train.len())?;
        let units = Unit::of(network)
            .into_iter()
            .map(|unit| UnitState::new(unit, network, &config))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            network,
            objective,
            train,
            config,
            seed,
            rate: config.learning_rate(train.len()),
            steps_per_epoch: config.steps_per_epoch(train.len()),
            units,
            frozen_features: frozen_features(network, &train.images)?,
            batch: None,
            order: None,
        })
    }

    /// The units, in the order in which a step visits them.
    pub fn units(&self) -> Vec<Unit> {
        self.units.iter().map(|state| state.unit).collect()
    }

    /// The network in training.
    pub fn network(&self) -> &'a dyn Denoiser {
        self.network
    }

    /// The objective it is trained for.
    pub fn objective(&self) -> &'a dyn Objective {
        self.objective
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u32 {
        self.steps_per_epoch
    }

    /// Training images that an epoch visits.
    pub fn images_per_epoch(&self) -> usize {
        (self.steps_per_epoch as usize * self.config.batch_size).min(self.train.len())
    }

    /// The settings.
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Whether unit number `unit` has made all its steps.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn is_done(&self, unit: usize) -> bool {
        self.units[unit].position >= self.rate.total_steps
    }

    /// Makes the next step of unit number `unit`, an index into [`Self::units`].
    ///
    /// What the step does depends on the unit, its position and the data, and on nothing that other units did.
    ///
    /// # Errors
    /// [`TrainError::Diverged`] if a loss is NaN or infinite (the weights are then as before the step),
    /// [`TrainError::MissingGradient`] if a trainable variable received none.
    ///
    /// # Panics
    /// If there is no such unit.
    pub fn advance(&mut self, unit: usize) -> Result<StepReport, TrainError> {
        let UnitState { unit: kind, position, .. } = self.units[unit];
        let spe = u64::from(self.steps_per_epoch);
        let epoch = u32::try_from(position / spe).unwrap_or(u32::MAX);
        let step = u32::try_from(position % spe).unwrap_or(u32::MAX);
        let batch = self.batch(epoch, step)?;
        let draws = self.seed.at(epoch, step);
        let lr = kind.rate() * self.rate.at(position);

        let state = &self.units[unit];
        let mut gradients = Gradients::new(&state.trained);
        let losses = match kind {
            Unit::Block(t) => {
                let part = self.network.encoder_part(t);
                let features = self.features(&batch, part, draws)?;
                let loss = self.block_loss(t, &features, &batch.labels, draws)?;
                let values = self.read(Part::Block(t), &loss, epoch, step)?;
                gradients.add(&loss.loss.backward()?)?;
                vec![values]
            }
            Unit::SharedEncoder { blocks } => {
                self.shared_encoder(blocks, &batch, draws, &mut gradients)?
            }
            Unit::Readout => {
                let loss = self.objective.readout_loss(self.network, &batch.labels, draws)?;
                let both = BlockLoss { error: loss.detach(), loss };
                let values = self.read(Part::Readout, &both, epoch, step)?;
                gradients.add(&both.loss.backward()?)?;
                vec![values]
            }
        };
        let gradients = gradients.finish()?;
        let state = &mut self.units[unit];
        state.adam.step_with(&gradients, lr)?;
        state.position += 1;
        Ok(StepReport {
            epoch: epoch + 1,
            step: step + 1,
            lr,
            images: batch.labels.dim(0)?,
            losses,
        })
    }

    /// The sum of all block losses behind one encoder, block by block: each block's gradients stop at the features, are
    /// added there in block order, and go through the encoder once. So no block's activations outlive its own turn, and
    /// memory does not grow with the number of blocks.
    fn shared_encoder(
        &self,
        blocks: usize,
        batch: &Batch,
        draws: Draws,
        gradients: &mut Gradients<'_>,
    ) -> Result<Vec<PartLoss>, TrainError> {
        let encoded = self.features(batch, Part::Encoder, draws)?;
        let leaf = Var::from_tensor(&encoded.detach())?;
        let mut at_features: Option<Tensor> = None;
        let mut losses = Vec::with_capacity(blocks);
        for t in 1..=blocks {
            let loss = self.block_loss(t, &leaf, &batch.labels, draws)?;
            losses.push(self.read(Part::Block(t), &loss, draws.epoch(), draws.step())?);
            let block = loss.loss.backward()?;
            gradients.add(&block)?;
            if let Some(gradient) = block.get(&leaf) {
                at_features = Some(match at_features {
                    Some(sum) => (sum + gradient)?,
                    None => gradient.clone(),
                });
            }
        }
        if let Some(gradient) = at_features {
            // The gradient of Σ f·g with g held constant is the encoder's gradient for dL/df = g.
            let carrier = (&encoded * gradient.detach())?.sum_all()?;
            gradients.add(&carrier.backward()?)?;
        }
        Ok(losses)
    }

    fn block_loss(
        &self,
        block: usize,
        features: &Tensor,
        labels: &Tensor,
        draws: Draws,
    ) -> Result<BlockLoss, TrainError> {
        Ok(self.objective.block_loss(self.network, block, features, labels, draws)?)
    }

    /// What the encoder of `part` makes of the batch.
    fn features(&self, batch: &Batch, part: Part, draws: Draws) -> Result<Tensor, TrainError> {
        if self.frozen_features.is_some() {
            // `batch.images` are rows of the cached features already.
            return Ok(batch.images.clone());
        }
        let key = draws.dropout(part);
        Ok(self.network.encode(part, &batch.images, Pass::Train(key))?)
    }

    fn read(
        &self,
        part: Part,
        loss: &BlockLoss,
        epoch: u32,
        step: u32,
    ) -> Result<PartLoss, TrainError> {
        let values =
            PartLoss { part, loss: loss.loss.to_scalar()?, error: loss.error.to_scalar()? };
        if values.loss.is_finite() {
            return Ok(values);
        }
        Err(TrainError::Diverged {
            part: part.to_string(),
            epoch: epoch + 1,
            step: step + 1,
            value: values.loss,
            checkpoint: "nothing was saved yet".into(),
        })
    }

    /// The batch of a step; units of the same step get the same one without gathering it again.
    fn batch(&mut self, epoch: u32, step: u32) -> Result<Batch, TrainError> {
        if let Some(batch) = &self.batch
            && (batch.epoch, batch.step) == (epoch, step)
        {
            return Ok(batch.clone());
        }
        let order = match &self.order {
            Some((cached, order)) if *cached == epoch => order,
            _ => {
                let order = epoch_order(self.seed.0, epoch.into(), self.train.len());
                &self.order.insert((epoch, order)).1
            }
        };
        let start = step as usize * self.config.batch_size;
        let end = (start + self.config.batch_size).min(order.len());
        let rows = order.get(start..end).unwrap_or_default();
        let rows = Tensor::new(rows, self.train.labels.device())?;
        let images = self.frozen_features.as_ref().unwrap_or(&self.train.images);
        let batch = Batch {
            epoch,
            step,
            images: images.index_select(&rows, 0)?,
            labels: self.train.labels.index_select(&rows, 0)?,
        };
        self.batch = Some(batch.clone());
        Ok(batch)
    }
}

impl UnitState {
    fn new(unit: Unit, network: &dyn Denoiser, config: &TrainConfig) -> Result<Self, TrainError> {
        let trained: Vec<Parameter> =
            network.parameters().trainable(&unit.parts()).cloned().collect();
        let vars = trained
            .iter()
            .map(|parameter| (parameter.name.clone(), parameter.var.clone()))
            .collect();
        let adam = AdamConfig {
            rule: match config.optimizer {
                OptimizerKind::Adamw => Rule::AdamW,
                OptimizerKind::Adam => Rule::Adam,
            },
            weight_decay: config.weight_decay,
            ..AdamConfig::default()
        };
        Ok(Self { unit, adam: Adam::new(vars, adam)?, trained, position: 0 })
    }
}

/// Gradients of one unit's parameters, gathered from several backward passes.
struct Gradients<'a> {
    parameters: &'a [Parameter],
    found: Vec<Option<Tensor>>,
}

impl<'a> Gradients<'a> {
    fn new(parameters: &'a [Parameter]) -> Self {
        Self { parameters, found: vec![None; parameters.len()] }
    }

    /// Adds one pass. A parameter that several passes reach gets the sum in the order of the passes.
    fn add(&mut self, pass: &GradStore) -> Result<(), TrainError> {
        for (parameter, found) in self.parameters.iter().zip(&mut self.found) {
            if let Some(gradient) = pass.get(&parameter.var) {
                *found = Some(match found.take() {
                    Some(sum) => (sum + gradient)?,
                    None => gradient.clone(),
                });
            }
        }
        Ok(())
    }

    /// One gradient a parameter, in order.
    fn finish(self) -> Result<Vec<Tensor>, TrainError> {
        self.parameters
            .iter()
            .zip(self.found)
            .map(|(parameter, gradient)| {
                gradient.ok_or_else(|| TrainError::MissingGradient { name: parameter.name.clone() })
            })
            .collect()
    }
}

fn frozen_features(network: &dyn Denoiser, images: &Tensor) -> Result<Option<Tensor>, TrainError> {
    if network.encoder() != EncoderKind::Frozen {
        return Ok(None);
    }
    let count = images.dim(0)?;
    let mut chunks = Vec::new();
    for start in (0..count).step_by(FROZEN_CHUNK) {
        let length = FROZEN_CHUNK.min(count - start);
        let chunk = images.narrow(0, start, length)?;
        chunks.push(network.encode(Part::Encoder, &chunk, Pass::Eval)?.detach());
    }
    Ok(Some(Tensor::cat(&chunks, 0)?))
}
