//! A model check of the hub's mailboxes: threads that do what shards and other threads do with them, in
//! every order in which they may come and with every value that they may see, on the engine's own source.
//!
//! A shard that sleeps for ever ends a model as a deadlock. After the models have passed, each fence of
//! `mailbox.rs` is left out in turn, and some model must fail then: a fence that no model needs is either
//! not needed or not checked.
//!
//! By hand these were put in, too, and found: either exchange of `called` relaxed; `asleep` not looked at by
//! who calls; `called` not looked at by who is about to sleep; a command put into the box behind its call; a
//! place given back without a call; room made after those who wait for it were looked up; an entry too many;
//! `REFUSES` or `GONE` not looked at. That `Room` orders what it counts is not found out when it does not:
//! commands are ordered by their queue and by calls.
//!
//! Not part of it: the queues, which are crossbeam's, and what `sys::waker` does beyond its promise.

mod hub;
mod models;
mod sys;

use std::env;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use models::MODELS;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        [line] => {
            let line = line.parse().expect("the line of a fence");
            hub::sync::LEFT_OUT.set(line).expect("it is set once");
        }
        _ => panic!("at most one argument, the line of a fence of mailbox.rs that is left out"),
    }
    for (name, bound, model) in MODELS {
        let began = Instant::now();
        let orders = models::check(*bound, *model);
        println!("{name}: {orders} orders, {:.1} s", began.elapsed().as_secs_f64());
    }
    if !arguments.is_empty() {
        return ExitCode::SUCCESS;
    }
    let fences = hub::sync::FENCES.lock().expect("nobody panics with it").clone();
    let program = env::current_exe().expect("this program's name");
    let mut unseen = 0;
    for line in fences {
        let mut without = Command::new(&program);
        without.arg(line.to_string()).stdout(Stdio::null()).stderr(Stdio::null());
        if without.status().expect("this program again").success() {
            println!("mailbox.rs:{line}: no model fails without this fence");
            unseen += 1;
        } else {
            println!("mailbox.rs:{line}: a model fails without this fence");
        }
    }
    if unseen == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
