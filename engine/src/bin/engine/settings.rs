//! What the flags mean: addresses resolved, units converted, contradictions found.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use ringbolt::config::RingConfig;
use ringbolt::conn::{Deflater, Inflater, InvalidUtf8, Limits};
use ringbolt::handshake::{DeflateTerms, HeadLimits, PolicyError, ServerPolicy, rfc6455, scan};
use ringbolt::wire::Dialect;
use ringbolt::{
    ClientAuth, Compression, Config, RingFeature, RingFeatures, ServerTls, ServerTlsBuilder,
    SlowConsumer, TlsVersion,
};

use crate::args::{
    Auth, CompressArgs, InvalidText, LimitArgs, Mode, Neighbour, PolicyArgs, RingArgs, ServeArgs,
    Slow, TlsArgs, Version,
};
use crate::units::Bytes;

/// A server as it is to be started.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) mode: Mode,
    /// The dialects that clients may choose from.
    pub(crate) dialects: Vec<Dialect>,
    /// Where each `--listen` leads: every address of its name.
    pub(crate) plain: Vec<Vec<SocketAddr>>,
    /// The addresses of each `--listen-tls`.
    pub(crate) secure: Vec<Vec<SocketAddr>>,
    /// What is shown there.
    pub(crate) tls: Option<ServerTlsBuilder>,
    pub(crate) place: Place,
    pub(crate) config: Config,
    pub(crate) drain: Duration,
}

/// Where the shards run.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One on each CPU of the process.
    Everywhere,
    Shards(usize),
    Cpus(Vec<usize>),
}

/// Why flags that are fine one by one make no server.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Contradiction(String);

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Settings {
    pub(crate) fn new(mode: Mode, args: ServeArgs) -> Result<Self, Contradiction> {
        let (plain, secure) = listeners(args.listen, &args.tls)?;
        let tls = tls(args.tls)?;
        let place = match (args.shards, args.cpus) {
            (_, Some(cpus)) => Place::Cpus(cpus.0),
            (Some(shards), None) => Place::Shards(shard_count(shards.0)?),
            (None, None) => Place::Everywhere,
        };
        let limits = limits(&args.limits)?;
        let head = head(&args.limits)?;
        let (ring, driver) = (ring(&args.ring)?, args.ring.driver);
        let sizes = &args.limits;
        room_for_one(sizes)?;
        let times = &args.timeouts;
        let (ping, idle) = (times.ping_interval.0, times.idle_timeout.0);
        if !idle.is_zero() && ping >= idle {
            return contradiction(format!(
                "--ping-interval {ping:?} is not shorter than --idle-timeout {idle:?}: living \
                 connections would be ended unasked; shorten the one, lengthen the other, or set \
                 --ping-interval 0 if that is meant"
            ));
        }
        for (flag, time) in [
            ("--handshake-timeout", times.handshake_timeout),
            ("--close-timeout", times.close_timeout),
        ] {
            if time.0.is_zero() {
                return contradiction(format!("{flag} 0 leaves no time at all"));
            }
        }
        let dialects = match &args.policy.dialect[..] {
            [] => Dialect::ALL.to_vec(),
            typed => typed.to_vec(),
        };
        let policy = policy(args.policy, &dialects)?;
        let compression = compression(&args.compress)?;
        let config = Config::new().with(|config| {
            config.limits = limits;
            config.head = head;
            config.policy = policy;
            config.max_connections = size(sizes.max_connections.0);
            config.max_outbound_bytes = size(sizes.max_outbound.0);
            config.pause_reading_bytes = size(sizes.pause_reading.0);
            config.memory_budget = sizes.memory_budget.map(|budget| size(budget.0));
            config.slow_consumer = match sizes.slow_consumer {
                Slow::Close => SlowConsumer::Close,
                Slow::Drop => SlowConsumer::Drop,
            };
            config.max_topics = size(sizes.max_topics.0);
            config.handshake_timeout = times.handshake_timeout.0;
            config.idle_timeout = idle;
            config.ping_interval = ping;
            config.close_timeout = times.close_timeout.0;
            config.compression = compression;
            config.driver = driver;
            config.ring = ring;
        });
        Ok(Self { mode, dialects, plain, secure, tls, place, config, drain: times.drain.0 })
    }
}

/// Whether one connection may hold what it is allowed to.
fn room_for_one(sizes: &LimitArgs) -> Result<(), Contradiction> {
    if sizes.max_outbound.0 < sizes.max_message.0 {
        return contradiction(format!(
            "--max-outbound {} has no room for one message of --max-message {}: raise the one \
             or lower the other",
            sizes.max_outbound, sizes.max_message
        ));
    }
    if let Some(budget) = sizes.memory_budget
        && budget.0 < sizes.max_outbound.0.saturating_add(sizes.max_message.0.saturating_mul(2))
    {
        return contradiction(format!(
            "--memory-budget {budget} has no room for one connection: --max-outbound {} and two \
             of --max-message {}; raise it, or lower those",
            sizes.max_outbound, sizes.max_message
        ));
    }
    Ok(())
}

/// How is compressed, if at all.
fn compression(args: &CompressArgs) -> Result<Option<Compression>, Contradiction> {
    if !args.compress {
        return Ok(None);
    }
    let least = Inflater::BYTES + Deflater::bytes(args.compress_window);
    let budget = size(args.compress_budget.0);
    if budget < least {
        return contradiction(format!(
            "--compress-budget of {budget} bytes has no room for one message each way, which takes \
             {least}; raise it, or leave --compress out"
        ));
    }
    let (sent, received) = args.compress_takeover.directions();
    let terms = DeflateTerms::default()
        .with_takeover(sent, received)
        .with_window_bits(args.compress_window, args.compress_peer_window);
    let compression = Compression::default()
        .with_min_bytes(size(args.compress_min.0))
        .with_level(args.compress_level)
        .with_terms(terms)
        .with_budget_bytes(budget);
    Ok(Some(compression))
}

fn contradiction<T>(text: impl Into<String>) -> Result<T, Contradiction> {
    Err(Contradiction(text.into()))
}

/// Where to listen, plain and for TLS.
#[expect(clippy::type_complexity, reason = "for each listener the addresses of its name")]
fn listeners(
    mut listen: Vec<String>,
    tls: &TlsArgs,
) -> Result<(Vec<Vec<SocketAddr>>, Vec<Vec<SocketAddr>>), Contradiction> {
    if listen.is_empty() && tls.listen_tls.is_empty() {
        listen.push("127.0.0.1:0".to_owned());
    }
    let all = |flag: &'static str, names: &[String]| {
        names.iter().map(|name| resolve(flag, name)).collect::<Result<_, _>>()
    };
    Ok((all("--listen", &listen)?, all("--listen-tls", &tls.listen_tls)?))
}

fn resolve(flag: &str, listen: &str) -> Result<Vec<SocketAddr>, Contradiction> {
    let found = listen.to_socket_addrs().map(Vec::from_iter);
    match found {
        Ok(addresses) if !addresses.is_empty() => Ok(addresses),
        Ok(_) => contradiction(format!("{flag} {listen}: the name has no address")),
        Err(e) => contradiction(format!(
            "{flag} {listen}: {e}; write 127.0.0.1:9002, [::1]:9002 or name:9002"
        )),
    }
}

/// What TLS listeners show and ask for. The files are read when the server starts.
fn tls(args: TlsArgs) -> Result<Option<ServerTlsBuilder>, Contradiction> {
    if args.listen_tls.is_empty() {
        let idle = [
            ("--tls-cert", !args.tls_cert.is_empty()),
            ("--tls-key", !args.tls_key.is_empty()),
            ("--tls-client-ca", args.tls_client_ca.is_some()),
            ("--tls-min", args.tls_min.is_some()),
        ];
        return match idle.into_iter().find(|(_, given)| *given) {
            None => Ok(None),
            Some((flag, _)) => contradiction(format!(
                "{flag} has no effect without --listen-tls, which says where to listen for wss"
            )),
        };
    }
    let (certificates, keys) = (args.tls_cert.len(), args.tls_key.len());
    if certificates == 0 {
        return contradiction(
            "--listen-tls needs a certificate and its key: --tls-cert FILE --tls-key FILE",
        );
    }
    if certificates != keys {
        return contradiction(format!(
            "--tls-cert is given {certificates} times and --tls-key {keys} times: each certificate \
             needs its key, in the same order"
        ));
    }
    let pairs = args.tls_cert.into_iter().zip(args.tls_key);
    let mut tls = pairs.fold(ServerTls::builder(), |tls, (chain, key)| tls.certificate(chain, key));
    if let Some(authorities) = args.tls_client_ca {
        tls = tls.client_ca(authorities).client_auth(match args.tls_client_auth {
            None | Some(Auth::Required) => ClientAuth::Required,
            Some(Auth::Optional) => ClientAuth::Optional,
        });
    }
    Ok(Some(tls.min_version(match args.tls_min {
        None | Some(Version::Tls12) => TlsVersion::Tls12,
        Some(Version::Tls13) => TlsVersion::Tls13,
    })))
}

fn shard_count(shards: u64) -> Result<usize, Contradiction> {
    match usize::try_from(shards) {
        Ok(0) => contradiction("--shards 0: a server needs at least one"),
        Ok(shards) if shards <= 1024 => Ok(shards),
        _ => contradiction(format!("--shards {shards}: at most 1,024 are allowed")),
    }
}

fn limits(args: &LimitArgs) -> Result<Limits, Contradiction> {
    if args.max_frame.0 > args.max_message.0 {
        return contradiction(format!(
            "--max-frame {} is more than --max-message {}, which holds all frames of a message: \
             lower it, or raise --max-message",
            args.max_frame, args.max_message
        ));
    }
    for (flag, count) in
        [("--max-connections", args.max_connections), ("--max-topics", args.max_topics)]
    {
        if count.0 == 0 {
            return contradiction(format!("{flag} 0 leaves nothing to serve"));
        }
    }
    let Some(fragments) = u32::try_from(args.max_fragments.0).ok().filter(|n| *n > 0) else {
        return contradiction("--max-fragments is between 1 and 4,294,967,295");
    };
    Ok(Limits::default()
        .with_max_message_bytes(args.max_message.0)
        .with_max_frame_bytes(args.max_frame.0)
        .with_max_fragments(fragments)
        .with_max_control_bytes(args.max_control.0)
        .with_invalid_utf8(match args.invalid_utf8 {
            InvalidText::Close => InvalidUtf8::Close,
            InvalidText::Replace => InvalidUtf8::Replace,
        }))
}

fn head(args: &LimitArgs) -> Result<HeadLimits, Contradiction> {
    let most = u64::from(u16::MAX);
    for (flag, Bytes(bytes)) in
        [("--max-handshake", args.max_handshake), ("--max-line", args.max_line)]
    {
        if bytes > most {
            return contradiction(format!("{flag} is at most {most} bytes"));
        }
    }
    let fields = size(args.max_fields.0);
    if fields > scan::FIELDS_MAX {
        return contradiction(format!("--max-fields is at most {}", scan::FIELDS_MAX));
    }
    Ok(HeadLimits::default()
        .with_max_bytes(size(args.max_handshake.0))
        .with_max_line_bytes(size(args.max_line.0))
        .with_max_fields(fields))
}

fn ring(args: &RingArgs) -> Result<RingConfig, Contradiction> {
    for (flag, n) in
        [("--small-buffers", args.small_buffers), ("--large-buffers", args.large_buffers)]
    {
        if !n.is_power_of_two() {
            return contradiction(format!(
                "{flag} {n} is not a power of two; {} is the next one",
                n.next_power_of_two()
            ));
        }
    }
    let mut ring = RingConfig::default();
    ring.submission_entries = args.submission_entries;
    ring.completion_entries = args.completion_entries;
    ring.small_buffers = args.small_buffers;
    ring.large_buffers = args.large_buffers;
    ring.spin = args.spin.0;
    ring.spin_budget_percent = args.spin_budget;
    ring.features = features(args)?;
    ring.zero_copy_bytes = size(args.zc_min.0);
    Ok(ring)
}

fn features(args: &RingArgs) -> Result<RingFeatures, Contradiction> {
    let features = args.ring_features;
    let required = features.required();
    let driver = args.driver;
    if !driver.has_ring_features() && !required.is_empty() {
        return contradiction(format!(
            "--ring-features requires {required}, which --driver {driver} does not have: take the + \
             away, or choose --driver uring"
        ));
    }
    if !args.no_direct_descriptors {
        return Ok(features);
    }
    if required.contains(RingFeature::Direct) {
        return contradiction(
            "--no-direct-descriptors turns off the feature direct, which --ring-features requires; leave one of the two out",
        );
    }
    Ok(features.forbid(RingFeature::Direct))
}

fn policy(args: PolicyArgs, dialects: &[Dialect]) -> Result<ServerPolicy, Contradiction> {
    if args.require_subprotocol && args.subprotocol.is_empty() {
        return contradiction(
            "--require-subprotocol without a --subprotocol refuses everybody; name one",
        );
    }
    if !args.accept_draft.is_empty() && !dialects.contains(&Dialect::Hybi02) {
        return contradiction(
            "--accept-draft is for neighbours of hybi-02, which --dialect leaves out",
        );
    }
    let idle = [
        ("--tls-in-front", args.tls_in_front),
        ("--trust-forwarded-proto", args.trust_forwarded_proto),
        ("--allow-missing-origin", args.allow_missing_origin && args.allow_origin.is_empty()),
    ];
    if !dialects.contains(&Dialect::Hybi02)
        && let Some((flag, _)) = idle.into_iter().find(|(_, given)| *given)
    {
        return contradiction(format!("{flag} is for hybi-02, which --dialect leaves out"));
    }
    let is_no_token = |name: &&String| !rfc6455::is_token(name);
    if !dialects.contains(&Dialect::Hybi02)
        && let Some(name) = args.subprotocol.iter().find(is_no_token)
    {
        return contradiction(format!(
            "--subprotocol `{name}` is not a token, as subprotocols of RFC 6455 are: letters, digits and \
             !#$%&'*+-.^_`|~ are its characters"
        ));
    }
    let mut policy = ServerPolicy::new()
        .dialects(dialects.iter().copied())
        .require_origin(!args.allow_missing_origin)
        .secure(args.tls_in_front)
        .trust_forwarded_proto(args.trust_forwarded_proto)
        .require_subprotocol(args.require_subprotocol)
        .accept_draft_1(args.accept_draft.contains(&Neighbour::Draft1))
        .accept_draft_3(args.accept_draft.contains(&Neighbour::Draft3));
    let wrong = |flag: &'static str| move |e: PolicyError| Contradiction(format!("{flag} {e}"));
    policy = policy.subprotocols(args.subprotocol).map_err(wrong("--subprotocol"))?;
    if !args.allow_host.is_empty() {
        policy = policy.hosts(args.allow_host).map_err(wrong("--allow-host"))?;
    }
    if !args.allow_origin.is_empty() {
        policy = policy.origins(args.allow_origin).map_err(wrong("--allow-origin"))?;
    }
    Ok(policy)
}

/// A size of memory or a count; what does not fit is no limit.
fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser as _;
    use ringbolt::Config;

    use super::{Contradiction, Place, Settings};
    use crate::args::Cli;

    fn settings(line: &str) -> Result<Settings, Contradiction> {
        let words = format!("engine echo {line}");
        let cli = Cli::try_parse_from(words.split_whitespace()).expect("it parses");
        let (mode, args) = cli.command.into_parts().expect("a server");
        Settings::new(mode, args)
    }

    #[test]
    fn no_flags_mean_the_librarys_defaults() {
        let typed = settings("").expect("the defaults agree").config;
        let library = Config::default();
        assert_eq!(format!("{typed:#?}"), format!("{library:#?}"));
    }

    #[test]
    fn every_flag_reaches_the_configuration() {
        let line = "--listen 127.0.0.1:1 --listen-tls 127.0.0.1:2 --tls-cert a.pem,b.pem \
                    --tls-key a.key --tls-key b.key --tls-client-ca ca.pem \
                    --tls-client-auth optional --tls-min 1.3 --cpus 1,3 --max-message 2m --max-frame 1500kB \
                    --max-fragments 7 --max-control 125 --invalid-utf8 replace \
                    --max-connections 9k --max-handshake 4k --max-line 1k --max-fields 9 \
                    --max-outbound 3m --pause-reading 1m --memory-budget 9m --slow-consumer drop --max-topics 8 \
                    --handshake-timeout 1s --idle-timeout 3s --ping-interval 2s \
                    --close-timeout 4s --drain 5s --spin 50us --spin-budget 20 \
                    --small-buffers 8 --large-buffers 4 --submission-entries 16 \
                    --completion-entries 32 --allow-missing-origin --tls-in-front \
                    --trust-forwarded-proto --no-direct-descriptors --ring-features none,+msg-ring --zc-min 64k";
        let Settings { plain, secure, tls, place, config, drain, .. } =
            settings(line).expect("they agree");
        assert_eq!(plain, [["127.0.0.1:1".parse().expect("an address")]]);
        assert_eq!(secure, [["127.0.0.1:2".parse().expect("an address")]]);
        let tls = format!("{tls:?}");
        for part in ["(a.pem, a.key), (b.pem, b.key)", "ca.pem", "Optional", "Tls13"] {
            assert!(tls.contains(part), "{part} not in {tls}");
        }
        assert_eq!(place, Place::Cpus(vec![1, 3]));
        assert_eq!(drain, Duration::from_secs(5));
        assert_eq!(config.limits.max_message_bytes, 2 << 20);
        assert_eq!(config.limits.max_frame_bytes, 1_500_000);
        assert_eq!(config.limits.max_fragments, 7);
        assert_eq!(config.limits.max_control_bytes, 125);
        assert_eq!(config.head.max_bytes(), 4096);
        assert_eq!(config.head.max_line_bytes(), 1024);
        assert_eq!(config.head.max_fields(), 9);
        let shown = format!("{config:?}");
        for part in [
            "invalid_utf8: Replace",
            "max_connections: 9000",
            "max_outbound_bytes: 3145728",
            "pause_reading_bytes: 1048576",
            "memory_budget: Some(9437184)",
            "slow_consumer: Drop",
            "max_topics: 8",
            "handshake_timeout: 1s",
            "idle_timeout: 3s",
            "ping_interval: 2s",
            "close_timeout: 4s",
            "spin: 50µs",
            "spin_budget_percent: 20",
            "small_buffers: 8",
            "large_buffers: 4",
            "submission_entries: 16",
            "completion_entries: 32",
            "required: msg-ring",
            "zero_copy_bytes: 65536",
            "require_origin: false",
            " secure: true",
            "trust_forwarded_proto: true",
        ] {
            assert!(shown.contains(part), "{part} not in {shown}");
        }
    }

    #[test]
    fn a_server_of_tls_alone_listens_nowhere_else() {
        let tls = "--listen-tls 127.0.0.1:2 --tls-cert a.pem --tls-key a.key";
        assert_eq!(settings(tls).expect("it agrees").plain.len(), 0);
        let more = format!("--listen 127.0.0.1:0,127.0.0.1:1 {tls}");
        assert_eq!(settings(&more).expect("it agrees").plain.len(), 2);
        assert_eq!(settings("").expect("it agrees").plain.len(), 1);
    }

    #[test]
    fn contradictions_name_the_flags() {
        let rows = [
            ("--max-frame 2m", "--max-frame 2MiB"),
            ("--max-message 8m", "--max-outbound 4MiB"),
            ("--memory-budget 5m", "--memory-budget 5MiB has no room"),
            ("--ping-interval 5m", "--ping-interval"),
            ("--max-handshake 1m", "--max-handshake"),
            ("--max-fields 129", "--max-fields"),
            ("--small-buffers 100", "128 is the next"),
            ("--require-subprotocol", "--subprotocol"),
            ("--shards 0", "--shards 0"),
            ("--listen nonsense", "--listen nonsense"),
            ("--max-fragments 0", "--max-fragments"),
            ("--max-connections 0", "--max-connections 0"),
            ("--max-topics 0", "--max-topics 0"),
            ("--dialect rfc6455 --accept-draft 3", "--accept-draft"),
            ("--dialect rfc6455 --subprotocol a/b", "--subprotocol `a/b` is not a token"),
            ("--subprotocol *", "--subprotocol `*` is no subprotocol that a client could send"),
            (
                "--allow-host a.example,::1",
                "--allow-host `::1` is no Host that a client could send: an IPv6 address is written in brackets; write [::1]",
            ),
            ("--allow-origin https://a.example/", "--allow-origin `https://a.example/` is no"),
            ("--allow-origin *,a.example", "write https://a.example or http://a.example"),
            ("--dialect rfc6455 --tls-in-front", "--tls-in-front"),
            ("--dialect rfc6455 --trust-forwarded-proto", "--trust-forwarded-proto"),
            ("--dialect rfc6455 --allow-missing-origin", "--allow-missing-origin"),
            ("--listen-tls nonsense", "--listen-tls nonsense"),
            ("--tls-cert a.pem --tls-key a.key", "--listen-tls"),
            ("--tls-min 1.3", "--tls-min has no effect"),
            ("--listen-tls 127.0.0.1:0", "--tls-cert FILE"),
            ("--listen-tls 127.0.0.1:0 --tls-cert a,b --tls-key a", "2 times"),
            ("--driver epoll --ring-features +direct", "requires direct"),
            ("--driver tokio-uring --ring-features +direct", "requires direct"),
            ("--no-direct-descriptors --ring-features +direct", "--no-direct-descriptors"),
        ];
        for (line, named) in rows {
            let error = settings(line).expect_err(line).to_string();
            assert!(error.contains(named), "{line}: {error}");
        }
    }
}
