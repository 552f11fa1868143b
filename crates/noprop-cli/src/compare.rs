//! `noprop compare`: several runs in one table.

use anyhow::{Result, bail};
use noprop_experiment::shell::{quoted, shown_path};
use noprop_experiment::{Standing, Unfinished, compare};

use crate::args::Compare;
use crate::display::{Display, Verbosity};
use crate::output::{Failed, answer, note};

pub fn run(args: &Compare) -> Result<()> {
    let comparison = compare(&args.runs, &mut Display::new(Verbosity::Normal))?;
    let unfinished: Vec<String> = comparison.unfinished.iter().map(what_to_do).collect();
    let unfinished = match unfinished.as_slice() {
        [] => None,
        [one] => Some(format!("this run is not finished: {one}")),
        several => Some(format!("these runs are not finished: {}", several.join("; "))),
    };
    if let (Some(unfinished), []) = (&unfinished, &*comparison.lines) {
        bail!("{unfinished}");
    }
    // Before the table: a reader of it that goes away does not cost the figure.
    if let Some(stem) = &args.figure {
        let [png, svg] = comparison.draw(stem)?;
        note!("{}, {}", png.display(), svg.display());
    }
    if args.json {
        answer!("{}", serde_json::to_string(&comparison.lines)?)?;
    } else {
        answer!("{}", comparison.markdown())?;
    }
    match unfinished {
        Some(unfinished) => Err(Failed::Incomplete(unfinished).into()),
        None => Ok(()),
    }
}

/// The name of an unfinished run, and how to finish it.
fn what_to_do(unfinished: &Unfinished) -> String {
    let (name, typed) = (shown_path(&unfinished.run), quoted(&unfinished.run));
    match unfinished.standing {
        Standing::Saved => format!("{name} (go on with noprop train --resume {typed})"),
        Standing::InUnits => {
            format!("{name} (its units are trained apart: see noprop status {typed})")
        }
        Standing::Begun => format!(
            "{name} (nothing of it was saved yet: noprop train --resume {typed} starts it again)"
        ),
    }
}
