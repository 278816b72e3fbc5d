//! Rings as older kernels would give them, completions that find no room, and memory that is owed.

use std::io::{self, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use io_uring::opcode;

use super::{SlowSent, Wait};
use crate::sys::batch::{Fill, Gather, InlineSends, Segment};
use crate::sys::features::{FeatureSet, RingConfig, RingFeature, RingFeatures, SetUpError};
use crate::sys::id::ConnectionId;
use crate::sys::operation::{Class, Completion, Operation, Socket, UserData};

pub(super) type Ring = super::Ring<Owned, Vec<u8>>;

/// What connections send inline.
#[derive(Default)]
pub(super) struct Batch(Vec<(ConnectionId, Vec<u8>)>);

impl InlineSends for Batch {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn part(&self, index: usize) -> (ConnectionId, usize) {
        (self.0[index].0, 1)
    }

    fn segments(&self, index: usize) -> impl Iterator<Item = Segment<'_>> {
        std::iter::once(Segment::Bytes(&self.0[index].1))
    }
}

/// What one connection sends the slow way.
pub(super) struct Owned {
    bytes: Bytes,
    pinned_max: usize,
}

impl Owned {
    fn of(bytes: &Bytes) -> Self {
        Self { bytes: bytes.clone(), pinned_max: usize::MAX }
    }
}

impl Gather for Owned {
    fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn pieces(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(&*self.bytes)
    }

    fn pinned_max(&self) -> usize {
        self.pinned_max
    }
}

impl Fill for Vec<u8> {
    fn spare(&mut self, _: u64) -> &mut [u8] {
        self
    }
}

const PATIENCE: Duration = Duration::from_secs(20);

fn config(features: FeatureSet) -> RingConfig {
    RingConfig { features: RingFeatures::want(features), ..RingConfig::default() }
}

/// What completes next; nothing if nothing does for a while.
fn next(ring: &mut Ring, batch: &Batch, socket: Socket) -> Vec<Completion> {
    let mut out = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while out.is_empty() && Instant::now() < deadline {
        ring.exchange(batch, |_| Some(socket), Wait::Until(deadline), &mut out).expect("it enters");
    }
    out
}

/// Receives twice on this ring, sends from a turn, and closes.
fn expect_service(mut ring: Ring, case: &str) {
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    let (id, socket) = (ConnectionId::new(3, 1), Socket::Descriptor(ours.as_raw_fd()));
    let mut armed = false;
    for text in [b"one", b"two"] {
        if !armed {
            ring.receive(socket, id, Class::Small, false).expect("room");
        }
        theirs.write_all(text).expect("room");
        let all = next(&mut ring, &Batch::default(), socket);
        assert_eq!(all.len(), 1, "{case}: {all:?}");
        let lease = ring.lease(all[0], Class::Small).expect("memory came with it");
        assert_eq!(ring.lend(lease.number(), 3).expect("three bytes"), text, "{case}");
        ring.end_lease(lease);
        armed = all[0].more();
        let batch = Batch(vec![(id, text.to_vec())]);
        let mut out = Vec::new();
        ring.exchange(&batch, |_| Some(socket), Wait::No, &mut out).expect("it enters");
        // Silence, or a success that is reported.
        assert!(out.iter().all(|one| one.result == 3), "{case}: {out:?}");
        let mut got = [0; 3];
        theirs.read_exact(&mut got).expect("it was sent");
        assert_eq!(&got, text, "{case}");
    }
    drop(theirs);
    if !armed {
        ring.receive(socket, id, Class::Small, false).expect("room");
    }
    let all = next(&mut ring, &Batch::default(), socket);
    assert!(all.len() == 1 && all[0].result == 0 && !all[0].more(), "{case}: {all:?}");
}

#[test]
fn whatever_set_up_flags_are_refused_the_ring_serves() {
    let flags = [RingFeature::NoSqarray, RingFeature::DeferTaskrun, RingFeature::CoopTaskrun];
    for features in [FeatureSet::ALL, FeatureSet::ALL.without(RingFeature::BufferRing)] {
        for refused in 0..6 {
            let config = config(features);
            let mut tries = 0;
            let ring = Ring::build(&config, |flags| {
                tries += 1;
                if tries <= refused {
                    return Err(io::Error::from_raw_os_error(libc::EINVAL));
                }
                flags.build(config.submission_entries, config.completion_entries)
            })
            .expect("the rest will do");
            let without: Vec<_> = ring.without().iter().map(|absent| absent.feature).collect();
            let expected = match refused {
                0 => 0,
                1 => 1,
                2 | 3 => 2,
                _ => 3,
            };
            for (index, flag) in flags.into_iter().enumerate() {
                assert_eq!(without.contains(&flag), index < expected, "{refused}: {without:?}");
                assert!(!without.contains(&flag) || !ring.features().contains(flag));
            }
            assert_eq!(ring.is_worth_it(), refused < 4);
            expect_service(ring, &format!("{features} after {refused} refusals"));
        }
    }
}

#[test]
fn what_a_kernel_refuses_and_is_required_is_an_error() {
    let features = RingFeatures::default().require(RingFeature::DeferTaskrun);
    let config = RingConfig { features, ..RingConfig::default() };
    let refused = Ring::build(&config, |flags| {
        if flags.gives(RingFeature::DeferTaskrun) == Some(true) {
            return Err(io::Error::from_raw_os_error(libc::EINVAL));
        }
        flags.build(8, 16)
    });
    let Some(SetUpError::Feature(absent)) = refused.err() else { panic!("it is required") };
    assert_eq!(absent.feature, RingFeature::DeferTaskrun);
    assert!(absent.because.contains("does not know it"), "{absent:?}");
}

#[test]
fn completions_that_find_no_room_are_not_lost() {
    for defer in [true, false] {
        let features = FeatureSet::ALL.without(RingFeature::MsgRing);
        let features = if defer { features } else { features.without(RingFeature::DeferTaskrun) };
        let mut small = config(features);
        (small.submission_entries, small.completion_entries) = (8, 8);
        let mut ring = Ring::new(&small).expect("a ring");
        // Far more than both queues hold, and nobody looks in between.
        for n in 0..1000 {
            let key = UserData::key(Operation::Unknown, n);
            ring.push(opcode::Nop::new().build(), key).expect("it is made room for");
        }
        let mut out = Vec::new();
        ring.exchange(&Batch::default(), |_| None, Wait::No, &mut out).expect("it enters");
        let keys: Vec<_> = out.iter().map(|one| one.user_data.low()).collect();
        assert_eq!(keys, (0..1000).collect::<Vec<_>>(), "each once, in order");
        assert_eq!(ring.counters.completions, 1000);
    }
}

#[test]
fn what_has_left_a_socket_is_seen_before_it_is_told_of() {
    let mut small = config(FeatureSet::ALL.without(RingFeature::MsgRing));
    small.submission_entries = 8;
    let mut ring = Ring::new(&small).expect("a ring");
    let (ours, mut theirs) = UnixStream::pair().expect("sockets");
    let (id, socket) = (ConnectionId::new(3, 1), Socket::Descriptor(ours.as_raw_fd()));
    ring.receive(socket, id, Class::Small, true).expect("room");
    theirs.write_all(b"seven!!").expect("room");
    assert_eq!(ring.received_early(id), 0, "nothing was submitted");
    // What makes room for submissions has the kernel receive.
    for n in 0..100 {
        ring.push(opcode::Nop::new().build(), UserData::key(Operation::Unknown, n)).expect("room");
    }
    let deadline = Instant::now() + PATIENCE;
    while ring.received_early(id) == 0 && Instant::now() < deadline {
        ring.flush().expect("it enters");
    }
    assert_eq!(ring.received_early(id), 7);
    assert_eq!(ring.received_early(ConnectionId::new(3, 2)), 0, "that is another one");
    let brought = next(&mut ring, &Batch::default(), socket);
    let brought: Vec<_> = brought.into_iter().filter(|one| one.brings(id) > 0).collect();
    assert_eq!((brought.len(), brought[0].brings(id), ring.received_early(id)), (1, 7, 0));
    let lease = ring.lease(brought[0], Class::Small).expect("memory came with it");
    ring.end_lease(lease);
}

/// Whenever this thread enters a ring from now on, the kernel is busy: as it is before 6.1 while
/// completions find no room, but for good.
fn refuse_to_enter() {
    let statement = |code, jf, k| libc::sock_filter { code, jt: 0, jf, k };
    let enter = u32::try_from(libc::SYS_io_uring_enter).expect("a small number");
    let busy = libc::SECCOMP_RET_ERRNO | libc::EBUSY.unsigned_abs();
    // Loads the call's number; jumps over the refusal unless it is that one.
    let mut filter = [
        statement(0x20, 0, 0),
        statement(0x15, 1, enter),
        statement(0x06, 0, busy),
        statement(0x06, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = libc::sock_fprog { len: 4, filter: filter.as_mut_ptr() };
    // SAFETY: it takes nothing but numbers.
    let promised = unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    // SAFETY: the program lives while it is read; it is for this thread alone.
    let installed =
        unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &raw const program) };
    assert_eq!([promised, installed], [0, 0], "{}", io::Error::last_os_error());
}

#[test]
fn a_kernel_that_takes_nothing_is_given_up() {
    let run = || {
        let mut small = config(FeatureSet::ALL);
        small.submission_entries = 8;
        let mut ring = Ring::new(&small).expect("a ring");
        refuse_to_enter();
        let nop = || opcode::Nop::new().build();
        let key = UserData::key(Operation::Unknown, 0);
        for _ in 0..8 {
            ring.push(nop(), key).expect("there is room");
        }
        let mut out = Vec::new();
        let exchanged = ring.exchange(&Batch::default(), |_| None, Wait::No, &mut out);
        [ring.push(nop(), key), exchanged, ring.submit_all()]
    };
    for outcome in std::thread::spawn(run).join().expect("it comes back") {
        assert_eq!(outcome.expect_err("it is busy").kind(), io::ErrorKind::ResourceBusy);
    }
}

/// Two ends of a connection over the loopback interface.
fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let ours = TcpStream::connect(listener.local_addr().expect("an address")).expect("it listens");
    let (theirs, _) = listener.accept().expect("it came");
    theirs.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    (ours, theirs)
}

/// Sends all of it, and tells how that ended; notifications come when they like.
fn send(ring: &mut Ring, socket: Socket, bytes: &Bytes) -> Result<bool, i32> {
    ring.send(socket, ConnectionId::new(1, 1), Owned::of(bytes), false).expect("room");
    loop {
        let all = next(ring, &Batch::default(), socket);
        assert!(!all.is_empty(), "the send never ends");
        let mut outcome = None;
        for completion in all {
            assert_eq!(completion.user_data.operation(), Operation::SlowSend);
            if let Some((_, SlowSent::Over(end))) = ring.slow_sent(completion, |_| Some(socket)) {
                outcome = Some(end);
            }
        }
        if let Some(outcome) = outcome {
            return outcome;
        }
    }
}

fn zero_copy() -> Ring {
    let mut config = config(FeatureSet::ALL);
    config.zero_copy_bytes = 4096;
    Ring::new(&config).expect("this kernel has it")
}

#[test]
fn memory_that_is_sent_without_a_copy_is_ours_when_the_kernel_says_so() {
    let (ours, mut theirs) = pair();
    let socket = Socket::Descriptor(ours.as_raw_fd());
    let mut ring = zero_copy();
    let bytes = Bytes::from(vec![7; 100_000]);
    assert_eq!(send(&mut ring, socket, &bytes).map(drop), Ok(()));
    assert_eq!(ring.counters.zero_copy_sends, 1);
    let mut got = vec![0; bytes.len()];
    theirs.read_exact(&mut got).expect("all of it");
    assert!(got == bytes);
    ring.finish().expect("the peer has it");
    assert!(!ring.owes_notifications());
    assert!(bytes.is_unique(), "nobody holds it any more");
    // Too small to be worth it.
    send(&mut ring, socket, &Bytes::from_static(b"small")).expect("sent");
    assert_eq!(ring.counters.zero_copy_sends, 1);
}

#[test]
fn memory_that_the_kernel_still_reads_outlives_the_ring() {
    let (ours, theirs) = pair();
    let socket = Socket::Descriptor(ours.as_raw_fd());
    let mut ring = zero_copy();
    // More than the peer's window: what is left in the queue is not copied yet.
    let bytes = Bytes::from(vec![7; 64 << 20]);
    ring.send(socket, ConnectionId::new(1, 1), Owned::of(&bytes), false).expect("room");
    let mut out = Vec::new();
    ring.exchange(&Batch::default(), |_| Some(socket), Wait::No, &mut out).expect("it enters");
    for completion in out {
        let further = ring.slow_sent(completion, |_| Some(socket));
        let over = matches!(further, Some((_, SlowSent::Over(_))));
        assert!(!over, "the peer reads nothing");
    }
    let owed = ring.owes_notifications();
    drop(ring);
    assert!(owed && !bytes.is_unique(), "it was given to nobody else");
    drop(theirs);
}

#[test]
fn what_peers_do_not_take_pins_no_more_than_it_may() {
    let (ours, theirs) = pair();
    let socket = Socket::Descriptor(ours.as_raw_fd());
    let mut ring = zero_copy();
    let bytes = Bytes::from(vec![7; 64 << 10]);
    let queue = |ring: &mut Ring, bytes: &Bytes| {
        let owned = Owned { pinned_max: 64 << 10, ..Owned::of(bytes) };
        ring.send(socket, ConnectionId::new(1, 1), owned, false).expect("room");
    };
    // Before the kernel has said anything of the first one.
    queue(&mut ring, &bytes);
    queue(&mut ring, &bytes);
    assert_eq!(ring.counters.zero_copy_sends, 1, "the second one is copied");
    let mut theirs = theirs;
    let mut got = vec![0; 2 * bytes.len()];
    let (mut out, mut over) = (Vec::new(), 0);
    while over < 2 {
        ring.exchange(&Batch::default(), |_| Some(socket), Wait::Forever, &mut out)
            .expect("enters");
        for completion in out.drain(..) {
            let further = ring.slow_sent(completion, |_| Some(socket));
            over += u32::from(matches!(further, Some((_, SlowSent::Over(Ok(_))))));
        }
    }
    theirs.read_exact(&mut got).expect("all of it");
    ring.finish().expect("the peer has it");
    assert_eq!(ring.in_flight.len(), 0);
    // Nothing is pinned any more.
    queue(&mut ring, &bytes);
    assert_eq!(ring.counters.zero_copy_sends, 2);
    drop(theirs);
}

#[test]
fn sends_that_are_copied_all_the_same_are_plain_again() {
    let (ours, mut theirs) = pair();
    let socket = Socket::Descriptor(ours.as_raw_fd());
    let reader = std::thread::spawn(move || io::copy(&mut theirs, &mut io::sink()));
    let mut ring = zero_copy();
    let bytes = Bytes::from(vec![7; 8192]);
    let mut sent = 0;
    while ring.sends_without_copy() && sent < 10_000 {
        send(&mut ring, socket, &bytes).expect("sent");
        sent += 1;
    }
    assert_eq!(ring.counters.zero_copy_off, 1, "the loopback interface copies");
    let counted = ring.counters.zero_copy_sends;
    send(&mut ring, socket, &bytes).expect("sent");
    assert_eq!(ring.counters.zero_copy_sends, counted, "no more of them");
    drop((ring, ours));
    let total = reader.join().expect("it ends").expect("it reads");
    assert_eq!(total, (sent + 1) * bytes.len() as u64);
}

/// What is queued on a connection that has room for a part of it only.
#[test]
fn what_a_short_send_took_is_counted_without_wait_all() {
    let mut ring = Ring::new(&config(FeatureSet::NONE)).expect("a ring");
    assert_eq!(ring.wait_all, libc::MSG_WAITALL, "this kernel keeps count");
    for wait_all in [libc::MSG_WAITALL, 0] {
        ring.wait_all = wait_all;
        let (ours, mut theirs) = UnixStream::pair().expect("sockets");
        theirs.set_nonblocking(true).expect("a flag");
        socket2::SockRef::from(&ours).set_send_buffer_size(4096).expect("a size");
        let (id, socket) = (ConnectionId::new(3, 1), Socket::Descriptor(ours.as_raw_fd()));
        let (batch, mut out) = (Batch(vec![(id, vec![7; 32 << 10])]), Vec::new());
        ring.exchange(&batch, |_| Some(socket), Wait::No, &mut out).expect("it enters");
        let taken = usize::try_from(out[0].result).expect("a count");
        let mut arrived = Vec::new();
        let end = theirs.read_to_end(&mut arrived).expect_err("the socket is open");
        assert_eq!(end.kind(), io::ErrorKind::WouldBlock);
        assert_eq!((out.len(), arrived.len()), (1, taken));
        assert!((1..32 << 10).contains(&taken), "{taken}");
        // The rest goes the slow way, in as many sends as it takes.
        theirs.set_nonblocking(false).expect("a flag");
        let reader = std::thread::spawn(move || {
            let mut rest = vec![0; (32 << 10) - taken];
            theirs.read_exact(&mut rest).map(|()| rest)
        });
        let rest = Bytes::from(vec![7; (32 << 10) - taken]);
        assert_eq!(send(&mut ring, socket, &rest), Ok(true), "it had to wait");
        assert!(reader.join().expect("no panic").expect("all of it") == rest);
    }
}

/// A batch that says 2 segments when it is first asked, and many afterwards.
struct Liar(std::cell::Cell<usize>);

impl InlineSends for Liar {
    fn len(&self) -> usize {
        1
    }

    fn part(&self, _: usize) -> (ConnectionId, usize) {
        (ConnectionId::new(3, 1), self.0.replace(1000))
    }

    fn segments(&self, _: usize) -> impl Iterator<Item = Segment<'_>> {
        std::iter::repeat_n(Segment::Bytes(b"x"), 1000)
    }
}

#[test]
fn what_the_kernel_was_shown_stays_where_it_is_whatever_a_batch_says() {
    for first in [2, 1] {
        let mut ring = Ring::new(&config(FeatureSet::ALL)).expect("a ring");
        let (ours, _theirs) = UnixStream::pair().expect("sockets");
        let socket = Socket::Descriptor(ours.as_raw_fd());
        let batch = Liar(std::cell::Cell::new(first));
        let mut out = Vec::new();
        ring.exchange(&batch, |_| Some(socket), Wait::No, &mut out).expect("it enters");
        assert!(ring.vectors.capacity() < 1000, "no more than were reserved");
    }
}
