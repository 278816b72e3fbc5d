//! The driver's buffers: registered ones while there are some, the heap's beyond.
//!
//! A read owns its buffer from the moment it is submitted, so every idle connection pins one. The
//! first ones pin registered buffers of 4 KiB; those beyond the pool get 1 KiB of the heap, and 4 KiB
//! once they fill it.

use std::io;
use std::ops::Range;

use tokio_uring::BufResult;
use tokio_uring::buf::BoundedBuf as _;
use tokio_uring::buf::fixed::{FixedBuf, FixedBufPool};
use tokio_uring::net::TcpStream;

use crate::config::RingConfig;
use crate::sys::ring::{LARGE_BYTES, SMALL_BYTES};

/// Bytes of a heap buffer of a connection that has not filled one lately.
const TINY_BYTES: usize = 1024;
/// Bytes of heap buffers kept for reuse, in each class.
const SPARE_BYTES: usize = 1 << 20;
/// The kernel registers no more buffers than this.
const REGISTERED_MAX: usize = 1024;
/// Bytes of a page, on most machines.
const PAGE_BYTES: usize = 4096;

/// How many buffers of which length a shard registers.
fn registered(config: &RingConfig) -> [(usize, usize); 2] {
    let large = usize::from(config.large_buffers).min(REGISTERED_MAX / 4);
    let small = usize::from(config.small_buffers).min(REGISTERED_MAX - large);
    [(large, LARGE_BYTES), (small, SMALL_BYTES)]
}

/// About how many bytes a shard locks for its registered buffers. The kernel counts whole pages for each
/// buffer, and a buffer begins and ends in the middle of one.
pub(crate) fn locked_bytes(config: &RingConfig) -> usize {
    registered(config).into_iter().map(|(count, len)| count * (len + PAGE_BYTES)).sum()
}

/// Why the kernel did not register the buffers, and what to do where something can be done.
fn because(error: &io::Error, config: &RingConfig) -> String {
    match error.raw_os_error() {
        Some(libc::ENOMEM) => format!(
            "the limit of locked memory has no room for about {} KiB a shard ({error}); raise it with \
             `ulimit -l`, or LimitMEMLOCK= in the service's unit",
            locked_bytes(config) >> 10
        ),
        Some(libc::EPERM | libc::EACCES | libc::ENOSYS) => {
            format!("a sandbox, a seccomp profile perhaps, forbids it ({error})")
        }
        _ => format!("the kernel refused it ({error})"),
    }
}

/// How large a buffer should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BufferClass {
    /// For a connection of which little is expected: small if registered.
    Tiny,
    Small,
    Large,
}

impl BufferClass {
    const ALL: [Self; 3] = [Self::Tiny, Self::Small, Self::Large];

    /// The class of buffers that `bytes` fit in; `None` if no buffer is so large.
    pub(super) fn holding(bytes: usize) -> Option<Self> {
        Self::ALL.into_iter().find(|class| bytes <= class.heap_bytes())
    }

    const fn heap_bytes(self) -> usize {
        match self {
            Self::Tiny => TINY_BYTES,
            Self::Small => SMALL_BYTES,
            Self::Large => LARGE_BYTES,
        }
    }

    const fn registered_bytes(self) -> usize {
        match self {
            Self::Tiny | Self::Small => SMALL_BYTES,
            Self::Large => LARGE_BYTES,
        }
    }
}

/// Memory that an operation can own.
#[derive(Debug)]
pub(super) enum Buffer {
    /// Known to the kernel since the start.
    Registered(FixedBuf),
    Heap(Vec<u8>),
}

impl Buffer {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Registered(buffer) => buffer,
            Self::Heap(buffer) => buffer,
        }
    }

    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Registered(buffer) => buffer,
            Self::Heap(buffer) => buffer,
        }
    }

    /// Whether it is what one would get for this class.
    pub(super) fn suits(&self, class: BufferClass) -> bool {
        match self {
            Self::Registered(buffer) => buffer.len() == class.registered_bytes(),
            Self::Heap(buffer) => buffer.len() == class.heap_bytes(),
        }
    }

    /// Reads once.
    pub(super) async fn read(self, from: &TcpStream) -> BufResult<usize, Self> {
        match self {
            Self::Registered(buffer) => {
                let (outcome, buffer) = from.read_fixed(buffer).await;
                (outcome, Self::Registered(buffer))
            }
            Self::Heap(buffer) => {
                let (outcome, buffer) = from.read(buffer).await;
                (outcome, Self::Heap(buffer))
            }
        }
    }

    /// Writes once, from a range that is not empty.
    pub(super) async fn write(self, to: &TcpStream, range: Range<usize>) -> BufResult<usize, Self> {
        match self {
            Self::Registered(buffer) => {
                let (outcome, slice) = to.write_fixed(buffer.slice(range)).await;
                (outcome, Self::Registered(slice.into_inner()))
            }
            Self::Heap(buffer) => {
                let (outcome, slice) = to.write(buffer.slice(range)).submit().await;
                (outcome, Self::Heap(slice.into_inner()))
            }
        }
    }
}

/// All buffers of a shard that no operation owns.
pub(super) struct Buffers {
    /// None where the kernel would not lock the memory.
    registered: Option<FixedBufPool<Vec<u8>>>,
    /// Why not.
    pub(super) unregistered: Option<String>,
    spare: [Vec<Vec<u8>>; BufferClass::ALL.len()],
    /// Times that no registered buffer was left.
    pub(super) exhausted: u64,
}

impl Buffers {
    /// Registers the buffers with the runtime in whose context this is called. A limit of locked
    /// memory that is too low for them leaves the heap's, and `unregistered` says so.
    pub(super) fn new(config: &RingConfig) -> Self {
        let sizes = registered(config).into_iter();
        let pool =
            FixedBufPool::new(sizes.flat_map(|(count, len)| (0..count).map(move |_| vec![0; len])));
        let (registered, unregistered) = match pool.register() {
            Ok(()) => (Some(pool), None),
            Err(error) => (None, Some(because(&error, config))),
        };
        Self { registered, unregistered, spare: Default::default(), exhausted: 0 }
    }

    /// Takes a buffer; its bytes are whatever they were.
    pub(super) fn take(&mut self, class: BufferClass) -> Buffer {
        if let Some(pool) = &self.registered {
            if let Some(buffer) = pool.try_next(class.registered_bytes()) {
                return Buffer::Registered(buffer);
            }
            self.exhausted += 1;
        }
        let spare = self.spare[class as usize].pop();
        Buffer::Heap(spare.unwrap_or_else(|| vec![0; class.heap_bytes()]))
    }

    /// Gets a buffer back.
    pub(super) fn give(&mut self, buffer: Buffer) {
        // A registered buffer goes back to its pool when it is dropped.
        if let Buffer::Heap(buffer) = buffer
            && let Some(class) = BufferClass::holding(buffer.len())
        {
            let spare = &mut self.spare[class as usize];
            if spare.len() < SPARE_BYTES / class.heap_bytes() {
                spare.push(buffer);
            }
        }
    }
}
