//! The way to the server: loopback or a device, and the settings of TCP.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::{Map, Value, json};

use crate::base::files::Files;

/// `target` is `None` for a unix socket.
pub(super) fn value(files: &Files, target: Option<IpAddr>) -> Value {
    let device = target.and_then(|target| device(files, target));
    let of_device = |file: &str| {
        let device = device.as_deref()?;
        files.line(&format!("sys/class/net/{device}/{file}"))
    };
    let queues = device.as_deref().map(|device| {
        let names = files.names(&format!("sys/class/net/{device}/queues"));
        names.iter().filter(|name| name.starts_with("rx-")).count()
    });
    let steered = |file: &str| of_device(&format!("queues/{file}"));
    let interrupts = device.as_deref().map(|device| interrupts(files, device));
    json!({
        "target": target.map_or("unix", |ip| if ip.is_loopback() { "loopback" } else { "remote" }),
        "device": device,
        "driver": of_device("device/uevent").and_then(|text| driver(&text)),
        "mtu": of_device("mtu").and_then(|mtu| mtu.parse::<u64>().ok()),
        "receive_queues": queues,
        "receive_steering": steered("rx-0/rps_cpus"),
        "send_steering": steered("tx-0/xps_cpus"),
        "send_queue_length": of_device("tx_queue_len").and_then(|n| n.parse::<u64>().ok()),
        "napi_threads": of_device("threaded").map(|on| on == "1"),
        "napi_defer_hard_irqs": of_device("napi_defer_hard_irqs").and_then(|n| n.parse::<u64>().ok()),
        "gro_flush_timeout_ns": of_device("gro_flush_timeout").and_then(|n| n.parse::<u64>().ok()),
        "interrupt_cpus": interrupts,
        "settings": settings(files),
    })
}

/// Settings below /proc/sys/net that speed or ceilings depend on.
const SETTINGS: [&str; 14] = [
    "core/somaxconn",
    "core/busy_poll",
    "core/busy_read",
    "core/netdev_max_backlog",
    "core/rmem_max",
    "core/wmem_max",
    "core/default_qdisc",
    "ipv4/tcp_max_syn_backlog",
    "ipv4/tcp_congestion_control",
    "ipv4/tcp_rmem",
    "ipv4/tcp_wmem",
    "ipv4/ip_local_port_range",
    "ipv4/tcp_tw_reuse",
    "ipv4/tcp_syncookies",
];

fn settings(files: &Files) -> Map<String, Value> {
    let one = |name: &str| {
        let value = files.line(&format!("proc/sys/net/{name}"));
        (name.replace('/', "_"), json!(value))
    };
    SETTINGS.into_iter().map(one).collect()
}

/// The CPUs that each interrupt of a device may go to; empty for devices without, such as loopback.
fn interrupts(files: &Files, device: &str) -> Vec<String> {
    let numbers = files.names(&format!("sys/class/net/{device}/device/msi_irqs"));
    let cpus = |number: String| files.line(&format!("proc/irq/{number}/smp_affinity_list"));
    numbers.into_iter().filter_map(cpus).collect()
}

/// The device that the kernel sends to this address by; known for loopback and IPv4.
fn device(files: &Files, target: IpAddr) -> Option<String> {
    match target {
        target if target.is_loopback() => Some("lo".to_owned()),
        IpAddr::V4(target) => route(&files.text("proc/net/route")?, target),
        IpAddr::V6(_) => None,
    }
}

/// The device of the most specific row of the routing table.
fn route(table: &str, target: Ipv4Addr) -> Option<String> {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let device = words.next()?;
        let destination = u32::from_str_radix(words.next()?, 16).ok()?;
        let mask = u32::from_str_radix(words.nth(5)?, 16).ok()?;
        // The table shows the bytes of addresses as numbers of this machine.
        let target = u32::from_ne_bytes(target.octets());
        // A name that leads out of its folder names no device.
        let fits = target & mask == destination && !device.contains('/');
        fits.then(|| (mask.count_ones(), device.to_owned()))
    };
    table.lines().filter_map(row).max_by_key(|(length, _)| *length).map(|(_, device)| device)
}

/// The driver's name in a device's `uevent`.
fn driver(text: &str) -> Option<String> {
    text.split(' ').find_map(|word| word.strip_prefix("DRIVER=")).map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::route;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_most_specific_route_wins() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
                     eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\n\
                     eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t0000FFFF\n";
        let to = |address: &str| route(table, address.parse().expect("an address"));
        assert_eq!(to("192.168.7.7").as_deref(), Some("eth1"));
        assert_eq!(to("10.0.0.1").as_deref(), Some("eth0"));
        assert_eq!(route("", "10.0.0.1".parse().expect("an address")), None);
    }
}
