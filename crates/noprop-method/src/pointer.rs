//! Networks and methods behind pointers, so that a trainer can own them, borrow them or share them.

/// Implements a trait for references, boxes and `Arc`s to its implementations. The list holds all methods of the trait.
macro_rules! through_pointer {
    (@ $trait:ident for $pointer:ty {
        $(fn $name:ident $(<$life:lifetime>)?(
            &$($own:lifetime)? $this:ident $(, $arg:ident: $type:ty)*
        ) -> $result:ty;)+
    }) => {
        impl<P: $trait + ?Sized> $trait for $pointer {
            $(fn $name $(<$life>)?(&$($own)? $this $(, $arg: $type)*) -> $result {
                (**$this).$name($($arg),*)
            })+
        }
    };
    ($trait:ident $methods:tt) => {
        through_pointer!(@ $trait for &P $methods);
        through_pointer!(@ $trait for Box<P> $methods);
        through_pointer!(@ $trait for std::sync::Arc<P> $methods);
    };
}

pub(crate) use through_pointer;
