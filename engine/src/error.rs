//! Why a server or client cannot start: what was wanted, why it failed, what to do.

mod tls;

use std::fmt;
use std::io;

pub use tls::TlsError;

use crate::sys::features::{FeatureSet, MissingFeature, SetUpError};

/// What kept something from starting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StartErrorKind {
    /// The kernel, or a sandbox around this process, does not allow a ring.
    Ring,
    /// The address cannot be listened on.
    Address,
    /// A CPU that was asked for cannot be used.
    Cpu,
    /// A certificate, a key or another file for TLS cannot be used.
    Tls,
    /// Another kernel object could not be made, or the ring became unusable.
    Kernel,
}

/// Why something cannot start.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StartError {
    kind: StartErrorKind,
    what: String,
    why: String,
    remedy: &'static str,
}

impl From<SetUpError> for StartError {
    fn from(error: SetUpError) -> Self {
        match error {
            SetUpError::Ring(error) => Self::ring(&error),
            SetUpError::Feature(absent) => Self::feature(&absent),
        }
    }
}

impl StartError {
    /// What kept it from starting.
    #[must_use]
    pub const fn kind(&self) -> StartErrorKind {
        self.kind
    }

    /// What was wanted, as its message begins.
    #[must_use]
    pub fn what(&self) -> &str {
        &self.what
    }

    /// Why it failed.
    #[must_use]
    pub fn why(&self) -> &str {
        &self.why
    }

    /// What to do, as an order.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        self.remedy
    }

    pub(crate) fn new(
        kind: StartErrorKind,
        what: impl Into<String>,
        why: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { kind, what: what.into(), why: why.into(), remedy }
    }

    /// The ring could not be set up: the error number tells who forbids it.
    pub(crate) fn ring(error: &io::Error) -> Self {
        let (why, remedy) = match error.raw_os_error() {
            Some(libc::ENOSYS) => (
                "the kernel has no io_uring, or a sandbox hides it",
                "run on Linux 5.11 or later, or let the sandbox (gVisor, a seccomp profile) pass \
                 io_uring_setup, io_uring_enter and io_uring_register",
            ),
            Some(libc::EPERM | libc::EACCES) => {
                forbidden(kernel_setting("io_uring_disabled").as_deref())
            }
            Some(libc::EINVAL) => (
                "the kernel's io_uring is too old for the driver",
                "run on Linux 5.11 or later; it was made for 6.1 or later",
            ),
            Some(libc::ENOMEM) => (
                "the ring needs more locked memory than the limit allows",
                "raise the limit: `ulimit -l unlimited`, or LimitMEMLOCK= in the service's unit",
            ),
            Some(libc::EMFILE | libc::ENFILE) => (
                "too many files are open",
                "raise the limit: `ulimit -n 1048576`, or LimitNOFILE= in the service's unit",
            ),
            _ => ("the kernel refused", "look up the error number; it is not one we expect"),
        };
        Self::new(
            StartErrorKind::Ring,
            "cannot set up an io_uring ring",
            format!("{why} ({error}; {})", this_kernel()),
            remedy,
        )
    }

    /// A feature of the ring was required, and the kernel does not have it.
    pub(crate) fn feature(absent: &MissingFeature) -> Self {
        Self::new(
            StartErrorKind::Ring,
            format!("cannot use the ring feature {}", absent.feature),
            format!(
                "{}; it has been there since Linux {}, and {}",
                absent.because,
                absent.feature.since(),
                this_kernel()
            ),
            "remove the + before the feature in --ring-features: features that work are used without being \
             asked for; `engine doctor` shows them, and which kernel has the others",
        )
    }

    /// Features of the ring were required together with a driver that has no ring.
    pub(crate) fn no_features(required: FeatureSet, driver: impl fmt::Display) -> Self {
        Self::new(
            StartErrorKind::Ring,
            format!("cannot use the ring features {required}"),
            format!("the driver {driver} has no such features"),
            "do not require any, or use the driver `uring`",
        )
    }

    /// The ring would lack what makes it faster than epoll.
    pub(crate) fn slow_ring() -> Self {
        Self::new(
            StartErrorKind::Ring,
            "a ring is not worth it here",
            "a ring would have neither defer-taskrun nor coop-taskrun, and would be slower than epoll",
            "run on Linux 6.1 or later, allow these features, or ask for the driver by name",
        )
    }

    /// The cause alone, without what was wanted and what to do.
    pub(crate) fn cause(&self) -> String {
        self.why.clone()
    }

    /// Another kernel object could not be made.
    pub(crate) fn kernel(what: &str, error: &io::Error) -> Self {
        let remedy = match error.raw_os_error() {
            Some(libc::EINVAL) => {
                "run on Linux 6.1 or later, or use the driver `tokio-uring` (Linux 5.11 or later) or \
                 `epoll` (any Linux)"
            }
            Some(libc::EMFILE | libc::ENFILE) => {
                "raise the limit of open files: `ulimit -n 1048576`, or LimitNOFILE= in the unit"
            }
            Some(libc::ENOMEM) => "free memory, or use fewer shards or buffers",
            _ => "look up the error number; it is not one we expect",
        };
        Self::new(StartErrorKind::Kernel, format!("cannot make {what}"), error.to_string(), remedy)
    }

    /// The address cannot be listened on.
    pub(crate) fn listen(address: std::net::SocketAddr, error: &io::Error) -> Self {
        let remedy = match error.kind() {
            io::ErrorKind::AddrInUse => {
                "stop the program that listens there (`ss -ltnp` names it), or choose another \
                 port; port 0 takes any free one"
            }
            io::ErrorKind::PermissionDenied => {
                "choose a port of 1024 or above, or give the program CAP_NET_BIND_SERVICE"
            }
            io::ErrorKind::AddrNotAvailable => {
                "choose an address of this machine; `ip addr` lists them"
            }
            _ => "check the address",
        };
        Self::new(
            StartErrorKind::Address,
            format!("cannot listen on {address}"),
            error.to_string(),
            remedy,
        )
    }
}

/// Who forbids io_uring, told by the sysctl that can, and how to allow it.
fn forbidden(io_uring_disabled: Option<&str>) -> (&'static str, &'static str) {
    match io_uring_disabled {
        Some("2") => (
            "io_uring is forbidden here: the sysctl kernel.io_uring_disabled is 2, which forbids it \
             to everyone",
            "let root run `sysctl -w kernel.io_uring_disabled=0`, or take the driver `epoll`",
        ),
        Some("1") => (
            "io_uring is forbidden here: the sysctl kernel.io_uring_disabled is 1, which allows it \
             to root and to the group of kernel.io_uring_group, unless a container's seccomp profile \
             forbids it to them as well",
            "run in that group, or set the sysctl to 0; allow io_uring_setup, io_uring_enter and \
             io_uring_register in the container's seccomp profile",
        ),
        // It is 0, or the kernel is older than 6.6 and has none.
        _ => (
            "io_uring is forbidden here by a seccomp profile, as is usual in containers",
            "allow io_uring_setup, io_uring_enter and io_uring_register in the container's seccomp \
             profile, or take the driver `epoll`",
        ),
    }
}

/// A value below /proc/sys/kernel.
fn kernel_setting(name: &str) -> Option<String> {
    let value = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
    Some(value.trim().to_owned())
}

fn this_kernel() -> String {
    let release = kernel_setting("osrelease");
    format!("this is Linux {}", release.as_deref().unwrap_or("of an unknown release"))
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}. To fix it: {}.", self.what, self.why, self.remedy)
    }
}

impl std::error::Error for StartError {}

#[cfg(test)]
mod tests {
    use std::io;

    use super::{StartError, forbidden, kernel_setting};
    use crate::sys::features::{MissingFeature, RingFeature};

    #[test]
    fn where_the_kernel_is_too_old_the_drivers_for_it_are_named() {
        let refused = io::Error::from_raw_os_error(libc::EINVAL);
        let error = StartError::kernel("progress", &refused).to_string();
        for part in ["cannot make progress: ", "Linux 6.1", "`tokio-uring`", "`epoll`"] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn who_forbids_rings_is_told_by_the_sysctl() {
        for (setting, why, remedy) in [
            (None, "seccomp", "seccomp"),
            (Some("0"), "seccomp", "seccomp"),
            (Some("1"), "io_uring_disabled is 1", "in that group"),
            (Some("2"), "io_uring_disabled is 2", "sysctl -w"),
        ] {
            let told = forbidden(setting);
            assert!(told.0.contains(why) && told.1.contains(remedy), "{setting:?}: {told:?}");
        }
    }

    #[test]
    fn a_feature_is_told_with_the_kernels_that_have_it() {
        let absent =
            MissingFeature { feature: RingFeature::Direct, because: "of the weather".to_owned() };
        let error = StartError::feature(&absent).to_string();
        let release = kernel_setting("osrelease").expect("every Linux has one");
        for part in ["feature direct: of the weather; ", "since Linux 6.13", &release] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }
}
