//! Source addresses: the range of ports of one address ends at some 28,000 connections to one
//! server, so loopback runs connect from several addresses of 127.0.0.0/8.

use std::net::{IpAddr, Ipv4Addr, UdpSocket};

use crate::base::failure::Failure;

/// The addresses to connect from, in turn.
#[derive(Debug, Clone)]
pub(crate) struct Sources {
    first: Option<IpAddr>,
    count: u64,
}

/// Connections that one source address is used for at most.
const PER_ADDRESS: u64 = 20_000;
/// Ports per source address, if the kernel does not say.
const DEFAULT_PORTS: u64 = 28_232;

impl Sources {
    /// Addresses of 127.0.0.0/8, as many as the connections need if an address has so many `ports`;
    /// where the target is elsewhere, whatever address the kernel chooses.
    pub(crate) fn automatic(target: IpAddr, connections: u64, ports: u64) -> Self {
        // Other programs, and connections that were closed a moment ago, have some of them.
        let each = (ports / 4 * 3).clamp(1, PER_ADDRESS);
        match target {
            IpAddr::V4(ip) if ip.is_loopback() => Self {
                first: Some(IpAddr::V4(Ipv4Addr::LOCALHOST)),
                count: connections.div_ceil(each).clamp(1, 1 << 16),
            },
            _ => Self { first: None, count: 1 },
        }
    }

    /// Nothing to choose from: unix sockets have no addresses.
    pub(crate) const fn none() -> Self {
        Self { first: None, count: 1 }
    }

    /// An address, or a block of them such as 10.0.0.8/29.
    pub(crate) fn parse(cidr: &str, target: IpAddr) -> Result<Self, Failure> {
        let wrong = |why: &str| {
            Failure::usage(
                format!("`{cidr}` cannot be connected from"),
                why,
                "write --source like 127.0.0.0/24 or 10.1.2.3",
            )
        };
        let (address, bits) = match cidr.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (cidr, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong("it is not an IP address"))?;
        if address.is_ipv4() != target.is_ipv4() {
            return Err(wrong("the target has an address of the other IP version"));
        }
        let width = if address.is_ipv4() { 32 } else { 128 };
        let bits: u32 = match bits {
            Some(bits) => {
                bits.parse().map_err(|_| wrong("the length of its prefix is not a number"))?
            }
            None => width,
        };
        if bits > width {
            return Err(wrong("its prefix is longer than an address"));
        }
        let host_bits = (width - bits).min(24);
        let count = 1_u64 << host_bits;
        // The first address of an IPv4 block names the network and the last is for broadcast.
        let whole_block = address.is_ipv4() && host_bits >= 2;
        let base = match address {
            IpAddr::V4(ip) => {
                let mask = u32::MAX.checked_shl(host_bits).unwrap_or(0);
                let network = u32::from(ip) & mask;
                IpAddr::V4(Ipv4Addr::from(network + u32::from(whole_block)))
            }
            IpAddr::V6(ip) => {
                let mask = u128::MAX.checked_shl(host_bits).unwrap_or(0);
                IpAddr::V6((u128::from(ip) & mask).into())
            }
        };
        let count = if whole_block { count - 2 } else { count };
        Ok(Self { first: Some(base), count })
    }

    /// Where connection `number` comes from; `None` lets the kernel choose.
    pub(crate) fn address(&self, number: u64) -> Option<IpAddr> {
        let offset = number % self.count;
        match self.first? {
            IpAddr::V4(first) => {
                let offset = u32::try_from(offset).unwrap_or(0);
                Some(IpAddr::V4(Ipv4Addr::from(u32::from(first).wrapping_add(offset))))
            }
            IpAddr::V6(first) => Some(IpAddr::V6((u128::from(first) + u128::from(offset)).into())),
        }
    }

    /// How many addresses are used.
    pub(crate) const fn count(&self) -> u64 {
        self.count
    }

    /// The first address.
    pub(crate) const fn first(&self) -> Option<IpAddr> {
        self.first
    }

    /// Whether the addresses, or the first of very many, are this machine's.
    pub(crate) fn check_local(&self) -> Result<(), Failure> {
        const LOOKED_AT: u64 = 1024;
        let all = (0..self.count.min(LOOKED_AT)).filter_map(|number| self.address(number));
        for address in all {
            // A datagram socket takes no port from the connections.
            UdpSocket::bind((address, 0)).map_err(|e| {
                Failure::preflight(
                    format!("cannot connect from {address}"),
                    e.to_string(),
                    "give --source addresses of this machine; `ip addr` lists them",
                )
            })?;
        }
        Ok(())
    }

    /// Whether the ports of these addresses are enough.
    pub(crate) fn check(&self, connections: u64) -> Result<(), Failure> {
        let ports = ports();
        if connections <= ports.saturating_mul(self.count) {
            return Ok(());
        }
        Err(Failure::preflight(
            format!("cannot open {connections} connections"),
            format!(
                "{ports} ports are available from one source address to one server, and {} \
                 source address(es) are used",
                self.count
            ),
            "add addresses of this machine with --source, or widen the sysctl \
             net.ipv4.ip_local_port_range",
        ))
    }
}

/// How many ports the kernel gives out per source address.
pub(crate) fn ports() -> u64 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let parse = |text: &str| {
        let mut words = text.split_whitespace().map(str::parse::<u64>);
        let (first, last) = (words.next()?.ok()?, words.next()?.ok()?);
        Some((last + 1).saturating_sub(first))
    };
    text.ok().as_deref().and_then(parse).unwrap_or(DEFAULT_PORTS)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use super::{DEFAULT_PORTS, Sources};

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn loopback_takes_an_address_per_twenty_thousand() {
        let home = IpAddr::V4(Ipv4Addr::LOCALHOST);
        assert_eq!(Sources::automatic(home, 20_000, DEFAULT_PORTS).count(), 1);
        let many = Sources::automatic(home, 100_000, DEFAULT_PORTS);
        assert_eq!(many.count(), 5);
        let used: Vec<_> = (0..6).filter_map(|n| many.address(n)).collect();
        let expected = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5"];
        assert_eq!(used[..5], expected.map(ip));
        assert_eq!(used[5], used[0]);
        assert!(many.check(100_000).is_ok());
        assert!(many.check_local().is_ok());
        let narrow = Sources::automatic(home, 150, 100);
        assert_eq!(narrow.count(), 2, "a range of 100 ports is not used to its end");
        assert_eq!(Sources::automatic(home, 3, 0).count(), 3);
    }

    #[test]
    fn addresses_of_others_are_refused_before_the_run() {
        // TEST-NET-1 (RFC 5737) is on no machine.
        let others = Sources::parse("192.0.2.1", ip("127.0.0.1")).expect("an address");
        let error = others.check_local().expect_err("not here").to_string();
        assert!(error.contains("192.0.2.1") && error.contains("ip addr"), "{error}");
    }

    #[test]
    fn elsewhere_the_kernel_chooses_and_the_ports_are_counted() {
        let sources = Sources::automatic(ip("192.0.2.1"), 100_000, DEFAULT_PORTS);
        assert_eq!(sources.address(5), None);
        let error = sources.check(100_000).expect_err("too many for one address").to_string();
        assert!(error.contains("ports are available"), "{error}");
        assert!(error.contains("--source"), "{error}");
    }

    #[test]
    fn a_block_leaves_its_first_and_last_address_alone() {
        let block = Sources::parse("10.1.2.77/29", ip("10.0.0.1")).expect("a block");
        let used: Vec<_> = (0..7).filter_map(|n| block.address(n)).collect();
        let named = ["10.1.2.73", "10.1.2.74", "10.1.2.75", "10.1.2.76", "10.1.2.77", "10.1.2.78"];
        assert_eq!(used[..6], named.map(ip));
        assert_eq!(used[6], ip("10.1.2.73"));
        let one = Sources::parse("10.1.2.77", ip("10.0.0.1")).expect("an address");
        assert_eq!((one.count(), one.address(3)), (1, Some(ip("10.1.2.77"))));
        let six = Sources::parse("fd00::/126", ip("fd00::9")).expect("a block");
        assert_eq!((six.count(), six.address(3)), (4, Some(ip("fd00::3"))));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/x", "localhost", "fd00::1"] {
            assert!(Sources::parse(text, ip("10.0.0.1")).is_err(), "{text}");
        }
    }
}
