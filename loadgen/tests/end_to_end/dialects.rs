//! The same scenarios in either dialect, against a server that takes both.

use ringbolt::wire::Dialect;

use crate::document;
use crate::servers::{Answer, Running};

#[test]
fn every_scenario_in_every_dialect() {
    for dialect in Dialect::ALL {
        let name = dialect.name();
        let echo = Running::echo(|_, _| Answer::Send);
        for payload in ["0", "64", "70000"] {
            let (code, document) = document(&[
                "echo",
                &echo.url,
                "--dialect",
                name,
                "-c",
                "5",
                "-n",
                "200",
                "--warmup",
                "0",
                "--depth",
                "4",
                "-p",
                payload,
                "--text",
            ]);
            assert_eq!(code, 0, "{document:#}");
            assert_eq!(document["workload"]["dialect"], name);
            assert_eq!(document["outcome"]["received"], 200);
            assert_eq!(document["outcome"]["connections_ended_unclean"], 0);
        }
        let relay = Running::relay(0);
        let (code, document) = document(&[
            "broadcast",
            &relay.url,
            "--dialect",
            name,
            "-c",
            "5",
            "-n",
            "40",
            "--warmup",
            "0",
        ]);
        assert_eq!(code, 0, "{document:#}");
        assert_eq!(document["outcome"]["reach"]["received"], 40 * 5);
        let (code, document) = crate::document(&[
            "storm",
            &echo.url,
            "--dialect",
            name,
            "-c",
            "5",
            "-n",
            "50",
            "--warmup",
            "0",
        ]);
        assert_eq!(code, 0, "{document:#}");
    }
}
