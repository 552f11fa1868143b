//! Hints that name the flags of this program, for errors of libraries that know no flags.

use noprop_data::{DataError, Remedy};
use noprop_fetch::FetchError;
use noprop_fetch::command::advice;

/// The hint for the first error in the chain that has one.
pub fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| match cause.downcast_ref::<FetchError>() {
        Some(error) => advice(error).map(str::to_owned),
        None => flag(cause.downcast_ref::<DataError>()?.remedy()?),
    })
}

fn flag(remedy: Remedy) -> Option<String> {
    let hint = match remedy {
        Remedy::Fetch(name) => return Some(format!("`noprop fetch {name}` gets it")),
        Remedy::Scale => "use --image-size to scale the pictures to one size",
        Remedy::ScaleDown => "scale them down with --image-size, or take fewer",
        Remedy::Share => "or use --split 0.2 to test on a fifth of a folder of classes",
        Remedy::NoShare => "leave out --split",
        Remedy::HoldOutFewer => "hold out fewer with --validation",
        _ => return None,
    };
    Some(hint.to_owned())
}
