//! The loop over epochs: trains, ends each epoch, also saves within long epochs, and stops on request.

use std::time::Instant;

use candle_core::Tensor;
use noprop_method::{Denoiser, Losses};

use crate::engine::{State, collect};
use crate::keeper::Keeper;
use crate::report::{Control, Observer};
use crate::step::Model;
use crate::unit_state::UnitState;
use crate::{Checkpoint, TrainError};

/// Trains all units to the end, or until the observer stops the training. `keeper` records and saves it. Returns the number of
/// epochs done, and of steps in the next, if the observer stopped it before the end.
pub(crate) fn train(
    model: Model<'_>,
    state: &mut State,
    keeper: &mut dyn Keeper,
    observer: &mut dyn Observer,
) -> Result<Option<(u32, u32)>, TrainError> {
    let engine = state.engine.clone();
    let ranks = engine.ranks();
    let steps = u64::from(state.plan.steps_per_epoch());
    let mut saved = Instant::now();
    let mut since = Instant::now();
    let (mut traffic, mut steps_made) = (ranks.traffic(), 0);
    let can_pause = ranks.is_single() && matches!(model.method.losses(), Losses::Blockwise(_));
    let mut paused = Vec::new();
    let ends_early = |keeper: &dyn Keeper| match keeper.ends_early() {
        Some(ends) => ranks.any(ends),
        None => Ok(false),
    };
    let mut over = ends_early(keeper)?;
    while !over && let Some(turn) = state.next_turn() {
        if can_pause {
            let asked = observer.paused();
            if asked != paused && keeper.pause(&asked)? {
                paused = asked;
            }
        }
        let made = state.steps(model, &turn.units, turn.steps, &paused);
        let mut control = Control::Continue;
        for reports in made.map_err(|error| keeper.with_checkpoint(error))? {
            keeper.record(&turn.units, &reports);
            control = control.max(observer.step(&reports));
        }
        keeper.took(&turn.units, since.elapsed().as_secs_f64());
        since = Instant::now();
        steps_made += u64::from(turn.steps);

        let ended = turn.position.is_multiple_of(steps);
        let due = !ended && saved.elapsed() >= keeper.save_every();
        // All ranks must take the same branch, or some would wait for the others' next step. Most steps need only one exchange.
        let asked = ranks.any(control == Control::Stop || due)?;
        let mut stop = asked && ranks.any(control == Control::Stop)?;
        if !ended && !asked {
            continue;
        }
        let number = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let (epoch, step) = (number(turn.position / steps), number(turn.position % steps));
        if ended && !ranks.is_single() {
            let now = ranks.traffic();
            let sent = (now.sent - traffic.sent) / steps_made.max(1);
            let received = (now.received - traffic.received) / steps_made.max(1);
            tracing::debug!(rank = ranks.rank(), sent, received, "bytes exchanged a step");
            (traffic, steps_made) = (now, 0);
        }
        if keeper.needs_all_ranks() {
            collect(ranks, model.network, &mut state.units)?;
        }
        let last = turn.position.saturating_sub(1);
        let made = (number(last / steps + 1), number(last % steps + 1));
        check_finite(model.network, &state.units, made)
            .map_err(|error| keeper.with_checkpoint(error))?;
        let report = match ended {
            true => keeper.end_epoch(model, state, &turn)?,
            false => None,
        };
        over = ended && ends_early(keeper)?;
        let finished = over || state.next_turn().is_none();
        let stopped = |stop: bool| (stop && !finished).then_some((epoch, step));
        keeper.save(model, state, &turn, stopped(stop))?;
        if ended {
            let control = report.map_or(Control::Continue, |report| observer.epoch(&report));
            if !stop && ranks.any(control == Control::Stop)? {
                stop = true;
                if !finished {
                    keeper.save(model, state, &turn, stopped(stop))?;
                }
            }
        }
        if stop && !finished {
            return Ok(Some((epoch, step)));
        }
        saved = Instant::now();
        since = Instant::now();
    }
    Ok(None)
}

/// Refuses weights and moments that are NaN or infinite. A loss is checked before the update that it leads to, so the last update before a
/// save may have made some, and they must not replace anything good. `made` is the epoch and its step, both counted from 1.
pub(crate) fn check_finite(
    network: &dyn Denoiser,
    units: &[UnitState],
    made: (u32, u32),
) -> Result<(), TrainError> {
    // Zero times a number is zero, and else NaN. A device is asked once for each part.
    let zero = |tensor: &Tensor| (tensor.detach() * 0.0)?.sum_all();
    for part in units.iter().flat_map(|unit| &unit.parts) {
        let weights = network.parameters().of_parts(&[part.part]).tensors();
        let moments = part.adam.moments().flat_map(|(_, m, v)| [m, v]);
        let tensors = weights.iter().map(|(_, tensor)| tensor).chain(moments);
        let zeros = tensors.map(zero).collect::<candle_core::Result<Vec<_>>>()?;
        if !zeros.is_empty() && Tensor::stack(&zeros, 0)?.sum_all()?.to_scalar::<f32>()?.is_nan() {
            let (part, (epoch, step), checkpoint) = (part.part, made, Checkpoint::None);
            return Err(TrainError::Diverged { part, epoch, step, loss: None, checkpoint });
        }
    }
    Ok(())
}
