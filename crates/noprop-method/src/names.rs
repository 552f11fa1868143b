//! The names of settings, on a command line and in files.

/// Implements `Display` and `FromStr` of a type by a list of its values and their names.
macro_rules! names {
    ($type:ident, $what:literal, $first:ident = $name:literal $(, $value:ident = $more:literal)*) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(match *self {
                    Self::$first => $name,
                    $(Self::$value => $more,)*
                })
            }
        }

        impl std::str::FromStr for $type {
            type Err = $crate::MethodError;

            fn from_str(name: &str) -> std::result::Result<Self, Self::Err> {
                match name {
                    $name => Ok(Self::$first),
                    $($more => Ok(Self::$value),)*
                    _ => {
                        let known = concat!($name $(, ", ", $more)*);
                        Err($crate::MethodError::unknown($what, name, known))
                    }
                }
            }
        }
    };
}

/// Gives a type the form in files that it has on the command line, for serde's `try_from` and `into`.
macro_rules! text_form {
    ($type:ident) => {
        impl TryFrom<String> for $type {
            type Error = $crate::MethodError;

            fn try_from(name: String) -> std::result::Result<Self, Self::Error> {
                name.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}

pub(crate) use {names, text_form};
