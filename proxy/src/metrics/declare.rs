//! How a group of cells is declared: field, metric name, unit, help and labels in one place.

use super::Cell;

/// One metric: what Prometheus calls a family, the same name under different labels.
#[derive(Debug)]
pub struct Family {
    /// The full name, with its unit: `slotway_node_received_bytes_total`.
    pub name: &'static str,
    /// What it counts, for the operator; the HELP line.
    pub help: &'static str,
    /// Whether it only grows.
    pub kind: Kind,
}

/// What a reader may expect of a metric's values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down; gone when its owner is gone.
    Gauge,
}

/// The labels that tell a cell from the others of its family.
pub type Labels = &'static [(&'static str, &'static str)];

/// A struct of [`Cell`]s made by the `cells!` macro.
pub trait Cells {
    /// Visits every cell in the order of declaration.
    fn each(&self, visit: &mut dyn FnMut(&'static Family, Labels, &Cell));

    /// Adds the values of the other group's counters; its gauges ended with it.
    fn absorb(&self, other: &Self);
}

/// Declares a struct whose fields are cells, and its [`Cells`] implementation. A family stands
/// once, with its fields behind it; `field (label = "value")` gives a field its labels. What
/// stands behind `with` becomes further, private fields.
macro_rules! cells {
    (
        $(#[$meta:meta])*
        pub struct $group:ident $(with { $($extra:ident: $extra_type:ty),+ $(,)? })? {
            $(
                $kind:ident $name:literal $help:literal {
                    $(
                        $(#[$field_meta:meta])*
                        $field:ident $(($($label:ident = $value:literal),+))?
                    ),+ $(,)?
                }
            )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Default, Debug)]
        pub struct $group {
            $($(
                #[doc = concat!(
                    "`", $name, "`", $($(" ", stringify!($label), "=", $value,)+)? ": ", $help
                )]
                $(#[$field_meta])*
                pub $field: $crate::metrics::Cell,
            )+)+
            $($($extra: $extra_type,)+)?
        }

        impl $crate::metrics::declare::Cells for $group {
            fn each(
                &self,
                visit: &mut dyn FnMut(
                    &'static $crate::metrics::declare::Family,
                    $crate::metrics::declare::Labels,
                    &$crate::metrics::Cell,
                ),
            ) {
                $({
                    static FAMILY: $crate::metrics::declare::Family =
                        $crate::metrics::declare::Family {
                            name: $name,
                            help: $help,
                            kind: $crate::metrics::declare::Kind::$kind,
                        };
                    $(visit(&FAMILY, &[$($((stringify!($label), $value)),+)?], &self.$field);)+
                })+
            }

            fn absorb(&self, other: &Self) {
                $(if $crate::metrics::declare::Kind::$kind
                    == $crate::metrics::declare::Kind::Counter
                {
                    $(self.$field.add(other.$field.get());)+
                })+
            }
        }
    };
}
pub(super) use cells;
