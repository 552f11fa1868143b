//! Prints the noise levels of every schedule: no tensors, no dependencies.

use noprop_schedule::{Posterior, Schedule, ScheduleKind};

fn main() -> Result<(), noprop_schedule::ScheduleError> {
    for kind in ScheduleKind::ALL {
        let schedule = Schedule::new(kind, 2000)?;
        println!("{kind}: signal share {:.4} to {:.4}", schedule.alpha_bar(0), schedule.alpha_bar(2000));
    }
    Ok(())
}

#[test]
fn a_long_chain_ends_where_one_step_does() {
    for kind in ScheduleKind::ALL {
        let schedule = Schedule::new(kind, 2000).unwrap();
        // The mean of z_T given u = 1, through every step and in one.
        let start = schedule.alpha_bar(0).sqrt();
        let chain = (1..=2000).map(|t| schedule.posterior(t)).fold(start, |z, p| p.a + p.b * z);
        let whole = Posterior::between(schedule.alpha_bar(0), schedule.alpha_bar(2000)).unwrap();
        let once = whole.a + whole.b * start;
        assert!((chain - once).abs() < 1e-9, "{kind}: {chain} {once}");
    }
}
