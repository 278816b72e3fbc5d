//! The drivers that there are: one row each, the best first.
//!
//! Whatever has to know them all is made of this table: the names of flags and logs here, and in
//! `driver::fallback` the loops, the order in which [`Driver::Auto`] tries them, and the doctor's report. A
//! row says, in this order: the variant of [`Driver`], which is also the type of its loop; its name; when
//! the program has it; whether the features of a ring are switches of it; and its module in `driver`.

use std::fmt;
use std::str::FromStr;

/// Hands the table to another macro.
macro_rules! for_each_driver {
    ($then:ident) => {
        $then! {
            /// io_uring: Linux 5.11 or later, where no sandbox forbids it; what newer kernels add is used
            /// where it is found.
            { Uring, "uring", cfg(all()), ring_features: true, uring }
            /// io_uring by the async runtime of that name: Linux 5.11 or later, where no sandbox forbids
            /// it. Slower, and each idle connection pins a buffer. Needs the cargo feature `tokio-uring`;
            /// not on a thread that already runs a tokio runtime, nor where `SIGPIPE` is not ignored.
            { TokioUring, "tokio-uring", cfg(feature = "tokio-uring"), ring_features: false, tokio_uring }
            /// epoll: any Linux, any container.
            { Epoll, "epoll", cfg(all()), ring_features: false, epoll }
        }
    };
}
pub(crate) use for_each_driver;

macro_rules! names {
    ($($(#[doc = $doc:literal])+
       { $driver:ident, $name:literal, cfg($($built:tt)*), ring_features: $features:literal, $module:ident })*) => {
        /// A way to talk to the kernel.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Driver {
            /// The first of the others that pays, in their order: a ring with neither deferred nor
            /// cooperative task work, which is slower than epoll, is passed over. What was taken and why
            /// is told.
            Auto,
            $($(#[doc = $doc])+ $driver,)*
        }

        impl Driver {
            /// All of them.
            pub const ALL: [Self; 1 + [$($name),*].len()] = [Self::Auto, $(Self::$driver,)*];

            /// The name that flags, logs and result files use.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    Self::Auto => "auto",
                    $(Self::$driver => $name,)*
                }
            }

            /// Whether this program was built with it.
            #[must_use]
            pub const fn is_built(self) -> bool {
                match self {
                    Self::Auto => true,
                    $(Self::$driver => cfg!($($built)*),)*
                }
            }

            /// Whether the features of a ring ([`RingFeatures`](crate::RingFeatures)) are switches of it.
            #[must_use]
            pub const fn has_ring_features(self) -> bool {
                match self {
                    Self::Auto => true,
                    $(Self::$driver => $features,)*
                }
            }
        }
    };
}
for_each_driver!(names);

impl Driver {
    /// The drivers that this program was built with, the best first, without [`Driver::Auto`].
    pub fn built() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|driver| *driver != Self::Auto && driver.is_built())
    }
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// No driver has this name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UnknownDriver;

impl fmt::Display for UnknownDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no driver has this name; known are")?;
        Driver::ALL.iter().try_for_each(|driver| write!(f, " {driver}"))
    }
}

impl std::error::Error for UnknownDriver {}

impl FromStr for Driver {
    type Err = UnknownDriver;

    fn from_str(name: &str) -> Result<Self, UnknownDriver> {
        Self::ALL.into_iter().find(|driver| driver.name() == name).ok_or(UnknownDriver)
    }
}
