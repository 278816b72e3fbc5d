//! Setting a ring up: the best flags first, then without what the kernel does not know.

use std::io;

use io_uring::IoUring;

use crate::sys::features::{FeatureSet, RingFeature};

/// The flags that a ring is set up with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Flags {
    no_sqarray: bool,
    defer: bool,
    single_issuer: bool,
    coop: bool,
    submit_all: bool,
}

impl Flags {
    /// The best of what is wanted.
    fn of(wanted: FeatureSet) -> Self {
        let defer = wanted.contains(RingFeature::DeferTaskrun);
        Self {
            no_sqarray: wanted.contains(RingFeature::NoSqarray),
            defer,
            single_issuer: true,
            coop: !defer && wanted.contains(RingFeature::CoopTaskrun),
            submit_all: true,
        }
    }

    /// The next best: without the newest flag. `None` when there is none left.
    fn climb_down(self, wanted: FeatureSet) -> Option<Self> {
        let coop = self.coop || self.defer && wanted.contains(RingFeature::CoopTaskrun);
        if self.no_sqarray {
            Some(Self { no_sqarray: false, ..self })
        } else if self.defer {
            Some(Self { defer: false, coop, ..self })
        } else if self.single_issuer {
            Some(Self { single_issuer: false, ..self })
        } else if self.coop {
            Some(Self { coop: false, ..self })
        } else if self.submit_all {
            Some(Self { submit_all: false, ..self })
        } else {
            None
        }
    }

    /// Which of the features these flags give.
    pub(super) const fn gives(self, feature: RingFeature) -> Option<bool> {
        match feature {
            RingFeature::NoSqarray => Some(self.no_sqarray),
            RingFeature::DeferTaskrun => Some(self.defer),
            // The better one stands for it.
            RingFeature::CoopTaskrun => Some(self.coop || self.defer),
            _ => None,
        }
    }

    /// A ring with these flags.
    pub(super) fn build(self, entries: u32, completions: u32) -> io::Result<IoUring> {
        let mut builder = IoUring::builder();
        builder.setup_clamp().setup_cqsize(completions.max(entries));
        if self.submit_all {
            builder.setup_submit_all();
        }
        if self.single_issuer {
            builder.setup_single_issuer();
        }
        if self.defer {
            builder.setup_defer_taskrun();
        }
        if self.coop {
            builder.setup_coop_taskrun();
        }
        if self.defer || self.coop {
            builder.setup_taskrun_flag();
        }
        if self.no_sqarray {
            builder.setup_no_sqarray();
        }
        builder.build(entries)
    }
}

/// The best flags that `build` makes a ring of, and that ring.
pub(super) fn climb<T>(
    wanted: FeatureSet,
    mut build: impl FnMut(Flags) -> io::Result<T>,
) -> io::Result<(T, Flags)> {
    let mut flags = Flags::of(wanted);
    loop {
        match build(flags) {
            Ok(ring) => return Ok((ring, flags)),
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                flags = flags.climb_down(wanted).ok_or(e)?;
            }
            Err(e) => return Err(e),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{Flags, climb};
    use crate::sys::features::{FeatureSet, RingFeature};

    /// What a kernel that knows only flags for which this holds makes of it.
    fn kernel(wanted: FeatureSet, knows: impl Fn(Flags) -> bool) -> io::Result<Flags> {
        let refuse = || io::Error::from_raw_os_error(libc::EINVAL);
        climb(wanted, |flags| if knows(flags) { Ok(()) } else { Err(refuse()) }).map(|(_, f)| f)
    }

    #[test]
    fn the_newest_flag_goes_first() {
        type Knows = fn(Flags) -> bool;
        // Which flags kernels knew, from the newest to the oldest.
        let kernels: [(Knows, &str); 6] = [
            (|_| true, "no-sqarray defer single submit"),
            (|f| !f.no_sqarray, "defer single submit"),
            (|f| !f.no_sqarray && !f.defer, "single coop submit"),
            (|f| !f.no_sqarray && !f.single_issuer && !f.defer, "coop submit"),
            (|f| !f.no_sqarray && !f.single_issuer && !f.defer && !f.coop, "submit"),
            (
                |f| {
                    f == Flags {
                        no_sqarray: false,
                        defer: false,
                        single_issuer: false,
                        coop: false,
                        submit_all: false,
                    }
                },
                "",
            ),
        ];
        for (knows, expected) in kernels {
            let got = kernel(FeatureSet::ALL, knows).expect("some flags are known");
            let shown = [
                (got.no_sqarray, "no-sqarray"),
                (got.defer, "defer"),
                (got.single_issuer, "single"),
                (got.coop, "coop"),
                (got.submit_all, "submit"),
            ];
            let shown: Vec<_> = shown.into_iter().filter(|(on, _)| *on).map(|(_, n)| n).collect();
            assert_eq!(shown.join(" "), expected);
        }
    }

    #[test]
    fn what_is_not_wanted_is_never_tried() {
        let wanted = FeatureSet::ALL.without(RingFeature::CoopTaskrun);
        let flags = kernel(wanted, |flags| {
            assert!(!flags.coop);
            !flags.defer
        });
        assert!(!flags.expect("the rest will do").coop);
        let plain = kernel(FeatureSet::NONE, |_| true).expect("it is known");
        assert_eq!(plain.gives(RingFeature::DeferTaskrun), Some(false));
        assert_eq!(plain.gives(RingFeature::CoopTaskrun), Some(false));
        assert_eq!(plain.gives(RingFeature::NoSqarray), Some(false));
        assert_eq!(plain.gives(RingFeature::Direct), None);
    }

    #[test]
    fn other_refusals_are_final() {
        for errno in [libc::EPERM, libc::ENOSYS, libc::ENOMEM] {
            let mut tries = 0;
            let outcome = climb(FeatureSet::ALL, |_| {
                tries += 1;
                Err::<(), _>(io::Error::from_raw_os_error(errno))
            });
            assert_eq!(outcome.expect_err("refused").raw_os_error(), Some(errno));
            assert_eq!(tries, 1);
        }
        let error = kernel(FeatureSet::ALL, |_| false).expect_err("nothing is known");
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }

    #[test]
    fn every_step_makes_a_ring_here() {
        let mut flags = Some(Flags::of(FeatureSet::ALL));
        let mut steps = 0;
        while let Some(these) = flags {
            these.build(8, 16).expect("this kernel knows all flags");
            flags = these.climb_down(FeatureSet::ALL);
            steps += 1;
        }
        assert_eq!(steps, 6);
    }
}
