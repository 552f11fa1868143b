//! `noprop ablate`: the accuracy of a chain without some of its blocks, or in another order.

use anyhow::Result;
use noprop_experiment::shell::shown;
use noprop_experiment::{Ablation, AblationRequest, Asked, ablate};

use crate::args::{Ablate, Form, moved};
use crate::display::{Display, Verbosity};
use crate::output::{answer, note};

pub fn run(args: &Ablate) -> Result<()> {
    let device = args.compute.device.open()?;
    let place = moved(&args.dataset, &args.data_dir, false);
    let request = AblationRequest {
        asked: Asked { half: args.split, place },
        sampling: args.classify.sampling(args.seed),
        images: args.images,
    };
    let mut display = Display::new(Verbosity::Normal);
    let found = ablate(args.run.as_ref(), &request, &device, &mut display)?;
    let drawn = args.figure.as_deref().map(|stem| found.draw(stem));
    match Form::of(args.json) {
        Form::Json => answer!("{}", serde_json::to_string(&found)?)?,
        Form::Words => answer!("{}", words(&found))?,
    }
    // The numbers are printed even if the figure could not be written.
    if let Some([png, svg]) = drawn.transpose()? {
        note!("{}, {}", png.display(), svg.display());
    }
    Ok(())
}

fn words(found: &Ablation) -> String {
    let percent = |share: f64| format!("{:.2}", 100.0 * share);
    let all =
        |shares: &[f64]| shares.iter().map(|share| percent(*share)).collect::<Vec<_>>().join(", ");
    let mut lines = vec![
        format!(
            "{} images of {}, the whole chain {} %",
            found.images,
            shown(&found.data),
            percent(found.whole)
        ),
        format!(
            "{:<18}  without %  up to it %  alone %  changes the answer of %  mended %  spoiled %",
            found.part
        ),
    ];
    for (index, changed) in found.changed.iter().enumerate() {
        let share = |shares: &[f64]| percent(shares.get(index).copied().unwrap_or(f64::NAN));
        lines.push(format!(
            "{:>18}  {:>9}  {:>10}  {:>7}  {:>23}  {:>8}  {:>9}",
            index + 1,
            share(&found.without),
            share(&found.first),
            share(&found.alone),
            percent(changed.all),
            percent(changed.mended),
            percent(changed.spoiled)
        ));
    }
    lines.extend([
        format!("in reverse order {} %", percent(found.reversed)),
        format!("in random orders {} %", all(&found.shuffled)),
        format!(
            "from other noise {} %; {} % of the images have more than one answer",
            all(&found.other_noise),
            percent(found.undecided)
        ),
    ]);
    lines.join("\n")
}
