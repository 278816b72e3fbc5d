//! What is warned of, on machines that are made up.

use std::sync::Arc;

use clap::Parser as _;

use super::warnings;
use crate::base::files::Files;
use crate::cli::arguments::{Cli, Command};
use crate::plan::Plan;

fn plan(words: &[&str]) -> Arc<Plan> {
    let Command::Measure(scenario) = Cli::parse_from([&["loadgen"], words].concat()).command else {
        panic!("no scenario: {words:?}");
    };
    scenario.job().expect("a job").plan
}

#[test]
fn what_may_go_wrong_is_said_before() {
    let root = std::env::temp_dir().join(format!("loadgen-preflight-{}", std::process::id()));
    let write = |path: &str, text: &str| {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(path, text).expect("written");
    };
    write("proc/sys/net/core/somaxconn", "128\n");
    write("proc/7/limits", "Max open files            150                  4096        files\n");
    write("proc/sys/net/netfilter/nf_conntrack_max", "500\n");
    write("proc/sys/net/netfilter/nf_conntrack_count", "350\n");
    let files = Files::below(&root);
    let said = |words: &[&str]| warnings(&plan(words), &files);
    let none = Vec::<String>::new();
    assert_eq!(said(&["storm", "ws://127.0.0.1:9/", "-c", "128"]), none);
    let storm = said(&["storm", "ws://127.0.0.1:9/", "-c", "129"]);
    assert!(storm.len() == 1 && storm[0].contains("net.core.somaxconn"), "{storm:?}");
    assert_eq!(said(&["echo", "ws://127.0.0.1:9/", "-c", "5000"]), none);
    let files_of_server = said(&["echo", "ws://127.0.0.1:9/", "-c", "150", "--pid", "7"]);
    assert!(files_of_server[0].contains("ulimit -n 2048"), "{files_of_server:?}");
    assert_eq!(said(&["echo", "ws://192.0.2.1:9/", "-c", "150"]), none);
    let tracked = said(&["echo", "ws://192.0.2.1:9/", "-c", "151"]);
    assert!(tracked.len() == 1 && tracked[0].contains("nf_conntrack_max"), "{tracked:?}");
    let nothing = Files::below("/nowhere/at/all");
    assert_eq!(warnings(&plan(&["storm", "ws://127.0.0.1:9/", "-c", "9k"]), &nothing), none);
    std::fs::remove_dir_all(root).expect("removed");
}
