//! Runs the programs of a task, and tells what became of them.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::counts::{Counter, Counts};
use crate::machine;
use crate::plan::{Run, Task};

const OUT: &str = "/tmp/out";
const ERR: &str = "/tmp/err";
const SERVER_LOG: &str = "/tmp/server";
/// What is told of a program's words, at most; the end matters more than the beginning.
const WORDS: usize = 64 << 10;

/// Runs a task; one line of the report for each of its programs.
pub(crate) fn run(
    task: &Task,
    report: &mut impl FnMut(&Value) -> Result<(), String>,
) -> Result<(), String> {
    machine::take_turns(task.turns)?;
    let done = in_order(task, report);
    machine::take_turns(false)?;
    done
}

fn in_order(
    task: &Task,
    report: &mut impl FnMut(&Value) -> Result<(), String>,
) -> Result<(), String> {
    let mut server = None;
    if !task.server.is_empty() {
        match Server::start(&task.server) {
            Ok(started) => server = Some(started),
            Err(what) => return report(&json!({ "task": task.name, "error": what })),
        }
    }
    for (number, run) in task.runs.iter().enumerate() {
        let mut line = match program(run, server.as_ref()) {
            Ok(line) => line,
            Err(what) => json!({ "error": what }),
        };
        line["task"] = json!(task.name);
        line["run"] = json!(number);
        line["server_start_nanoseconds"] = json!(server.as_ref().map(|server| nanos(server.start)));
        report(&line)?;
    }
    Ok(())
}

/// A running server.
struct Server {
    child: Child,
    address: String,
    /// How long it took until it was listening.
    start: Duration,
}

impl Server {
    fn start(command: &[String]) -> Result<Self, String> {
        let log = File::create(SERVER_LOG).map_err(|e| format!("{SERVER_LOG}: {e}"))?;
        let mut program = prepared(command)?;
        let began = Instant::now();
        let spawned = program.stdout(Stdio::piped()).stderr(log).spawn();
        let mut child = spawned.map_err(|e| format!("{}: {e}", command.join(" ")))?;
        let mut line = String::new();
        if let Some(out) = child.stdout.take() {
            // An error leaves the line empty, which is told.
            drop(BufReader::new(out).read_line(&mut line));
        }
        let mut server = Self { child, address: String::new(), start: began.elapsed() };
        match line.trim().strip_prefix("listening on ") {
            Some(address) => address.clone_into(&mut server.address),
            None => {
                return Err(format!("{} does not start: {}", command.join(" "), words(SERVER_LOG)));
            }
        }
        Ok(server)
    }

    fn threads(&self) -> Vec<u32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id()));
        let names = tasks.into_iter().flatten().filter_map(|task| Some(task.ok()?.file_name()));
        names.filter_map(|name| name.to_str()?.parse().ok()).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn prepared(command: &[String]) -> Result<Command, String> {
    let (program, arguments) = command.split_first().ok_or("a command without words")?;
    let mut prepared = Command::new(program);
    prepared.args(arguments).stdin(Stdio::null());
    Ok(prepared)
}

/// Runs one program to its end. Its words go into files: nobody wakes up to read them meanwhile.
fn program(run: &Run, server: Option<&Server>) -> Result<Value, String> {
    let (address, pid) = server.map_or_else(Default::default, |server| {
        (server.address.clone(), server.child.id().to_string())
    });
    let filled: Vec<String> = run
        .command
        .iter()
        .map(|word| word.replace("{address}", &address).replace("{pid}", &pid))
        .collect();
    let create = |path: &str| File::create(path).map_err(|e| format!("{path}: {e}"));
    let mut command = prepared(&filled)?;
    command.envs(&run.environment).stdout(create(OUT)?).stderr(create(ERR)?);
    let counter = run.count.then(Counter::start);
    if run.mark {
        machine::mark();
    }
    let began = Instant::now();
    let child = command.spawn().map_err(|e| format!("{}: {e}", filled.join(" ")))?;
    let (status, in_time) = wait(child, Duration::from_secs(run.seconds))?;
    let took = began.elapsed();
    if run.mark {
        machine::mark();
    }
    let counts = counter.map(|counter| by_whom(&counter.stop(), server));
    Ok(json!({
        "exit": status.code(),
        "status": status.to_string(),
        "in_time": in_time,
        "nanoseconds": nanos(took),
        "out": words(OUT),
        "err": words(ERR),
        "counts": counts,
        "marked": run.mark,
    }))
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Waits for the end of a program, which is killed when its time is over. Sleeps meanwhile.
fn wait(mut child: Child, limit: Duration) -> Result<(ExitStatus, bool), String> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let (ended, watch) = mpsc::channel::<()>();
    let guard = thread::spawn(move || {
        let late = watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if let Some(pid) = pid.filter(|_| late) {
            let _ = kill_process(pid, Signal::KILL);
        }
        !late
    });
    let status = child.wait().map_err(|e| e.to_string())?;
    drop(ended);
    Ok((status, guard.join().unwrap_or(true)))
}

/// Events of the server's threads, and of all threads.
fn by_whom(counts: &Counts, server: Option<&Server>) -> Value {
    let threads = server.map(Server::threads).unwrap_or_default();
    let mut told = json!({});
    for (name, by_thread) in counts {
        let of_server = threads.iter().filter_map(|thread| by_thread.get(thread)).sum::<u64>();
        told[*name] = json!({ "server": of_server, "all": by_thread.values().sum::<u64>() });
    }
    told
}

/// What a file holds, or its end.
fn words(path: &str) -> String {
    let bytes = fs::read(path).unwrap_or_default();
    let start = bytes.len().saturating_sub(WORDS);
    String::from_utf8_lossy(&bytes[start..]).into_owned()
}
