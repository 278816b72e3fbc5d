//! What this kernel and sandbox give: every driver and every ring feature tried, nothing guessed.

use io_uring::{IoUring, Probe, opcode};

use super::{epoll, ladder};
use crate::config::{Config, Driver, Taken};
use crate::error::StartError;
use crate::sys::ring::Ring;

/// A driver, and why it cannot be had if it cannot.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DriverReport {
    /// The driver.
    pub driver: Driver,
    /// What keeps it from running here; `None` if it runs.
    pub refused: Option<StartError>,
}

/// Something that the kernel's rings may have.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RingFeature {
    /// The name that reports use.
    pub name: &'static str,
    /// The first kernel that has it.
    pub since: &'static str,
    /// What it is good for.
    pub gives: &'static str,
    /// Whether this kernel has it; `None` if no ring can be had to ask.
    pub here: Option<bool>,
}

/// What [`diagnose`] found.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Diagnosis {
    /// Every driver, the best first.
    pub drivers: Vec<DriverReport>,
    /// What [`Driver::Auto`] would take; `None` if nothing runs here.
    pub auto: Option<Taken>,
    /// What the ring driver uses, and what it would not need but the kernel may have.
    pub features: Vec<RingFeature>,
}

/// Tries every driver with these settings, and asks for every ring feature. Takes a moment, opens no
/// port and leaves nothing behind.
#[must_use]
pub fn diagnose(config: &Config) -> Diagnosis {
    let uring = Ring::new(&config.ring).err();
    let tokio_uring = ladder::probe_tokio_uring().err();
    let epoll = epoll::probe().err();
    let drivers = vec![
        DriverReport { driver: Driver::Uring, refused: uring },
        DriverReport { driver: Driver::TokioUring, refused: tokio_uring },
        DriverReport { driver: Driver::Epoll, refused: epoll },
    ];
    let auto = drivers.iter().find(|row| row.refused.is_none()).map(|row| Taken {
        driver: row.driver,
        because: drivers[0].refused.as_ref().map(StartError::cause),
    });
    Diagnosis { drivers, auto, features: features() }
}

fn features() -> Vec<RingFeature> {
    let plain = IoUring::new(8).ok();
    let mut probe = Probe::new();
    let probed =
        plain.as_ref().is_some_and(|ring| ring.submitter().register_probe(&mut probe).is_ok());
    let operation = |code: u8| probed.then(|| probe.is_supported(code));
    let set_up = |change: fn(&mut io_uring::Builder)| {
        plain.as_ref().map(|_| {
            let mut builder = IoUring::builder();
            change(&mut builder);
            builder.build(8).is_ok()
        })
    };
    // Multishot is a flag of an operation, which no probe tells: an operation of the same release
    // stands for it.
    let since_5_19 = operation(opcode::Socket::CODE);
    let since_6_0 = operation(opcode::SendZc::CODE);
    let row = |name, since, gives, here| RingFeature { name, since, gives, here };
    vec![
        row("multishot accept", "5.19", "one request accepts every connection", since_5_19),
        row("provided buffer ring", "5.19", "an idle connection owns no buffer", since_5_19),
        row("direct descriptors", "5.19", "accepted sockets without the file table", since_5_19),
        row("multishot receive", "6.0", "one request receives again and again", since_6_0),
        row(
            "zero-copy send",
            "6.0",
            "not used: it copies on loopback and costs on small sends",
            since_6_0,
        ),
        row(
            "SINGLE_ISSUER, DEFER_TASKRUN",
            "6.1",
            "the kernel's share of the work runs when we ask; needed",
            set_up(|builder| {
                builder.setup_single_issuer().setup_defer_taskrun();
            }),
        ),
        row(
            "NO_SQARRAY",
            "6.6",
            "a little less memory to touch per request",
            set_up(|builder| {
                builder.setup_no_sqarray();
            }),
        ),
    ]
}
