//! Hints that name the flags of this program, for errors of libraries that know no flags.

use noprop_data::{DataError, Remedy};
use noprop_fetch::FetchError;
use noprop_fetch::command::advice;

/// The hint for the first error in the chain that has one.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<FetchError>() {
        Some(error) => advice(error).map(str::to_owned),
        None => of_data(cause.downcast_ref::<DataError>()?),
    })
}

/// The hint for an error of noprop-data.
fn of_data(error: &DataError) -> Option<String> {
    Some(match error.remedy()? {
        Remedy::Fetch(name) => format!("`noprop fetch {name}` gets it"),
        Remedy::Scale => "use --image-size to scale the pictures to one size".into(),
        Remedy::ScaleDown => "scale them down with --image-size, or take fewer".into(),
        Remedy::Share => "or use --split 0.2 to test on a fifth of a folder of classes".into(),
        Remedy::NoShare => "leave out --split".into(),
        Remedy::HoldOutFewer => "hold out fewer with --validation".into(),
        _ => return None,
    })
}
