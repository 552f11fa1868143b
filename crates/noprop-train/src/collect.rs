//! Brings what every process trained to the first one, which validates and saves.

use candle_core::Tensor;
use noprop_kernels::optim::Moments;
use noprop_method::{Parameter, Part};

use crate::peers::owner;
use crate::{PeersError, TrainError, Trainer};

/// Gives rank 0 the weights, buffers and moments of all parts as their ranks have them. What is shared all have alike.
///
/// Tensors travel one by one: a network may be larger than what goes at a time, and rank 0 need not hold it twice.
///
/// # Errors
/// [`PeersError`].
pub(crate) fn collect(trainer: &mut Trainer<'_>) -> Result<(), TrainError> {
    if trainer.peers().is_alone() {
        return Ok(());
    }
    for (unit, part, owner) in parts_apart(trainer) {
        collect_part(trainer, (unit, part), owner)?;
    }
    Ok(())
}

/// Every part that a single rank trains: index of its unit, index in the unit, whose it is.
fn parts_apart(trainer: &Trainer<'_>) -> Vec<(usize, usize, usize)> {
    let size = trainer.peers().size();
    let (together, apart): (Vec<usize>, Vec<usize>) =
        (0..trainer.units.len()).partition(|&unit| trainer.units[unit].shares());
    let mut parts = Vec::new();
    for unit in together.into_iter().filter(|&unit| trainer.units[unit].unit.has_shares()) {
        let state = &trainer.units[unit];
        let own = state.own();
        let count = own.len();
        parts.extend(own.enumerate().map(|(index, part)| (unit, part, owner(index, count, size))));
    }
    let count = apart.len();
    for (index, unit) in apart.into_iter().enumerate() {
        let all = 0..trainer.units[unit].parts.len();
        parts.extend(all.map(|part| (unit, part, owner(index, count, size))));
    }
    parts
}

fn collect_part(
    trainer: &mut Trainer<'_>,
    (unit, part): (usize, usize),
    owner: usize,
) -> Result<(), TrainError> {
    let peers = trainer.peers();
    let fetch = |tensor: &Tensor| -> Result<Option<Tensor>, TrainError> {
        let mine = match owner == peers.rank() && owner != 0 {
            true => tensor.flatten_all()?.to_vec1::<f32>()?,
            false => Vec::new(),
        };
        let mut all = peers.gather_first(mine)?;
        if !peers.is_first() || owner == 0 {
            return Ok(None);
        }
        let values = all.get_mut(owner).map(std::mem::take).unwrap_or_default();
        if values.len() != tensor.elem_count() {
            let reason = "a tensor of another size than it should";
            return Err(PeersError::Malformed { rank: owner, reason }.into());
        }
        Ok(Some(Tensor::from_vec(values, tensor.shape().clone(), tensor.device())?))
    };
    let network = trainer.network();
    let position = trainer.units[unit].position;
    let state = &mut trainer.units[unit].parts[part];
    for parameter in parameters(network, state.part) {
        if let Some(tensor) = fetch(&parameter.var)? {
            parameter.var.set(&tensor)?;
        }
    }
    let mut moments = Vec::new();
    for (name, first, second) in state.adam.moments() {
        if let (Some(first), Some(second)) = (fetch(first)?, fetch(second)?) {
            moments.push(Moments { name: name.to_owned(), first, second });
        }
    }
    if !moments.is_empty() {
        state.adam.restore(position, moments)?;
    }
    Ok(())
}

/// Everything in a part, buffers included.
fn parameters(
    network: &dyn noprop_method::Denoiser,
    part: Part,
) -> impl Iterator<Item = &Parameter> {
    network.parameters().iter().filter(move |parameter| parameter.part == part)
}
