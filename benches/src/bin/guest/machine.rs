//! The little of an operating system that the first process has to bring.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::fd::AsFd;
use std::thread;
use std::time::Duration;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketType, recv, sendto, socket};
use rustix::process::{Resource, Rlimit, setrlimit};
use rustix::system::{RebootCommand, reboot, sethostname, uname};
use rustix::termios::tcdrain;
use uapi::c::{SCHED_FIFO, SCHED_OTHER, pid_t, sched_param};
use uapi::sched_setscheduler;

/// As many files as a process may open where nobody has said otherwise (`fs.nr_open`).
const OPEN_FILES: u64 = 1 << 20;

/// Mounts, limits and the loopback interface.
pub(crate) fn set_up() -> Result<(), String> {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/tmp")] {
        mount_at(kind, place)?;
    }
    // Kernels may have mounted it already.
    match mount_at("devtmpfs", "/dev") {
        Err(what) if fs::metadata("/dev/ttyS1").is_err() => return Err(what),
        _ => {}
    }
    let limit = Rlimit { current: Some(OPEN_FILES), maximum: Some(OPEN_FILES) };
    setrlimit(Resource::Nofile, limit).map_err(|e| format!("the limit of open files: {e}"))?;
    // A kernel message in the middle of a measurement would be measured.
    quietly("/proc/sys/kernel/printk", "1 1 1 1");
    // Real-time programs, which take turns, would be held up for a twentieth of each second.
    quietly("/proc/sys/kernel/sched_rt_runtime_us", "-1");
    loopback_up().map_err(|e| format!("the loopback interface: {e}"))
}

fn mount_at(kind: &str, place: &str) -> Result<(), String> {
    drop(fs::create_dir_all(place));
    mount(kind, place, kind, MountFlags::empty(), None).map_err(|e| format!("{place}: {e}"))
}

/// Writes a setting that not every kernel has.
fn quietly(path: &str, value: &str) {
    drop(fs::write(path, value));
}

/// Sets IFF_UP on the loopback interface, by rtnetlink(7).
fn loopback_up() -> Result<(), Errno> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_AND_ACK: u16 = 1 | 4;
    const NLMSG_ERROR: u16 = 2;
    const IFF_UP: u32 = 1;
    const LOOPBACK: u32 = 1;
    let mut request = Vec::with_capacity(32);
    request.extend_from_slice(&32_u32.to_ne_bytes());
    request.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    request.extend_from_slice(&NLM_F_REQUEST_AND_ACK.to_ne_bytes());
    request.extend_from_slice(&[0; 8]); // sequence number, sender
    request.extend_from_slice(&[0; 4]); // family, padding, type of device
    request.extend_from_slice(&LOOPBACK.to_ne_bytes());
    request.extend_from_slice(&IFF_UP.to_ne_bytes());
    request.extend_from_slice(&IFF_UP.to_ne_bytes()); // which flags to change
    let netlink = socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    sendto(&netlink, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 512];
    let (length, _) = recv(&netlink, &mut answer[..], RecvFlags::empty())?;
    let word = |at: usize| answer[..length].get(at..at + 4).and_then(|b| b.try_into().ok());
    let kind = word(4).map(|b: [u8; 4]| u16::from_ne_bytes([b[0], b[1]]));
    match (kind, word(16).map(i32::from_ne_bytes)) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(Errno::from_raw_os_error(-error)),
        _ => Err(Errno::BADMSG),
    }
}

/// The kernel's release, as `uname -r` has it.
pub(crate) fn release() -> String {
    uname().release().to_string_lossy().into_owned()
}

/// The model of the CPU.
pub(crate) fn cpu() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

/// What the kernel's clock reads.
pub(crate) fn clock() -> Option<String> {
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// The addresses and names of the kernel's functions, a line each, compressed (zlib) and in
/// hexadecimal: a serial port is slow.
pub(crate) fn symbols() -> Result<String, String> {
    let path = "/proc/kallsyms";
    let text = fs::read_to_string(path).map_err(|e| format!("{path}: {e}"))?;
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::default());
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(address), Some("t" | "T" | "w" | "W"), Some(name)) =
            (words.next(), words.next(), words.next())
        {
            writeln!(packed, "{address} {name}").map_err(|e| e.to_string())?;
        }
    }
    let packed = packed.finish().map_err(|e| e.to_string())?;
    Ok(packed.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Makes a system call that nothing else here makes, for who looks on from outside.
pub(crate) fn mark() {
    let _ = sethostname(b"guest");
}

/// Waits until two seconds in a row were idle: kernels go on working after they have started their
/// first process. By the guest's clock, which an emulator moves on at once while all are idle. Gives
/// the seconds that it took; nothing if the kernel never came to rest.
pub(crate) fn wait_until_quiet() -> Option<u32> {
    let mut quiet = 0;
    for second in 1..=60 {
        let before = times();
        thread::sleep(Duration::from_secs(1));
        let after = times();
        let (all, idle) = (after.0 - before.0, after.1 - before.1);
        quiet = if idle * 100 >= all * 98 { quiet + 1 } else { 0 };
        if quiet == 2 {
            return Some(second);
        }
    }
    None
}

/// Ticks of the CPU so far, and those among them in which it was idle.
fn times() -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = first.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let idle = ticks.iter().skip(3).take(2).sum();
    (ticks.iter().sum(), idle)
}

/// Whether programs that this thread starts from now on keep the CPU until they have nothing to do,
/// and then the next one has it (`SCHED_FIFO`, all with the same priority).
///
/// The kernel's thread for postponed interrupt work then goes before them: kernels before 6.5 leave packets
/// to it from the moment it is woken, and it would hold them back for as long as any program has something
/// to do.
pub(crate) fn take_turns(turns: bool) -> Result<(), String> {
    let this_thread = 0;
    schedule(this_thread, turns.then_some(TURNS))
        .map_err(|e| format!("the scheduling policy: {e}"))?;
    for thread in postponed_interrupts() {
        schedule(thread, turns.then_some(TURNS + 1))
            .map_err(|e| format!("the priority of ksoftirqd: {e}"))?;
    }
    Ok(())
}

/// The real-time priority of programs that take turns.
const TURNS: i32 = 1;

/// Gives a thread a real-time priority, or takes it away.
fn schedule(thread: pid_t, priority: Option<i32>) -> Result<(), uapi::Errno> {
    let policy = if priority.is_some() { SCHED_FIFO } else { SCHED_OTHER };
    let param = sched_param { sched_priority: priority.unwrap_or(0) };
    sched_setscheduler(thread, policy, &param).map(drop)
}

/// The threads ksoftirqd, one for each CPU.
fn postponed_interrupts() -> impl Iterator<Item = pid_t> {
    fs::read_dir("/proc").into_iter().flatten().flatten().filter_map(|entry| {
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        name.starts_with("ksoftirqd/").then(|| entry.file_name().to_str()?.parse().ok())?
    })
}

/// Waits until the port has sent everything.
pub(crate) fn drain(port: &File) {
    let _ = tcdrain(port.as_fd());
}

/// Ends the machine.
pub(crate) fn power_off() -> ! {
    rustix::fs::sync();
    let _ = reboot(RebootCommand::PowerOff);
    loop {
        thread::park();
    }
}
