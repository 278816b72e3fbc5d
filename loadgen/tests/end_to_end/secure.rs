//! wss targets.

use std::fs;
use std::path::PathBuf;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use ringbolt::{Config, Server, ServerTls};

use crate::servers::{Answer, Running, greet};
use crate::{document, loadgen, number};

/// An authority, a server's certificate and a client's, as files of one test.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("wss-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let files = Self(folder);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::OrganizationName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key"))
            .expect("a certificate");
        fs::write(files.path("ca.pem"), issuer.pem()).expect("a file");
        for (name, usage) in [
            ("localhost", ExtendedKeyUsagePurpose::ServerAuth),
            ("client", ExtendedKeyUsagePurpose::ClientAuth),
        ] {
            let mut params = CertificateParams::new([name.to_owned()]).expect("a name");
            params.extended_key_usages = vec![usage];
            let key = KeyPair::generate().expect("a key");
            let certificate = params.signed_by(&key, &issuer).expect("a certificate");
            fs::write(files.path(&format!("{name}.pem")), certificate.pem()).expect("a file");
            fs::write(files.path(&format!("{name}.key")), key.serialize_pem()).expect("a file");
        }
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().expect("text").to_owned()
    }

    /// A server that sends everything back, and asks for certificates if so.
    fn serve(&self, asks: bool) -> Running {
        let mut tls = ServerTls::builder()
            .certificate(self.0.join("localhost.pem"), self.0.join("localhost.key"));
        if asks {
            tls = tls.client_ca(self.0.join("ca.pem"));
        }
        let any = "127.0.0.1:0".parse().expect("an address");
        let builder = Server::builder()
            .bind_tls(any, tls.build().expect("usable files"))
            .shards(1)
            .config(Config::new());
        greet(builder, "wss://localhost")
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

#[test]
fn a_url_of_the_other_scheme_is_told_as_that() {
    let files = Files::new("mixed");
    let (secure, plain) = (files.serve(false), Running::echo(|_, _| Answer::Send));
    for (url, more, told, cure) in [
        (secure.url.replace("wss:", "ws:"), &[][..], "use a wss:// URL", "write wss://"),
        (plain.url.replace("ws:", "wss:"), &["--insecure"], "answered without TLS", "write ws://"),
    ] {
        for dialect in ["hybi-02", "rfc6455"] {
            let run = ["echo", &url, "-c", "2", "--ws-version", dialect];
            let output = loadgen(&[&run[..], more].concat());
            let text = String::from_utf8(output.stderr).expect("text");
            assert_eq!(output.status.code(), Some(69), "{text}");
            assert!(text.contains(told) && text.contains(cure), "{text}");
        }
    }
}

#[test]
fn wss_is_measured_like_ws_and_the_document_tells_what_was_agreed_on() {
    let files = Files::new("echo");
    let server = files.serve(false);
    let ca = files.path("ca.pem");
    for dialect in ["hybi-02", "rfc6455"] {
        let (code, result) = document(&[
            "echo",
            &server.url,
            "--ws-version",
            dialect,
            "--cacert",
            &ca,
            "-c",
            "10",
            "-n",
            "500",
            "-p",
            "20KiB",
            "--warmup",
            "0s",
        ]);
        assert_eq!(code, 0, "{result:#}");
        assert_eq!(result["workload"]["tls"]["verified"], true);
        assert_eq!(result["workload"]["tls"]["authorities"], ca.as_str());
        let outcome = &result["outcome"];
        assert_eq!(outcome["tls"]["sessions"]["TLS 1.3 TLS_AES_256_GCM_SHA384"], 10);
        assert_eq!(outcome["tls"]["resumed"], 0);
        let part = |name: &str| number(&outcome[name]["count"]);
        for name in ["handshake", "handshake_tcp", "handshake_tls", "handshake_upgrade"] {
            assert!((part(name) - 10.0).abs() < 0.5, "{name}: {outcome:#}");
        }
    }
}

#[test]
fn a_storm_makes_whole_handshakes_unless_it_may_resume() {
    let files = Files::new("storm");
    let server = files.serve(false);
    for resume in [false, true] {
        let ca = files.path("ca.pem");
        let mut arguments = vec!["storm", &server.url, "--cacert", &ca];
        arguments.extend(["-c", "1", "-n", "20", "--warmup", "0s", "--threads", "1"]);
        if resume {
            arguments.push("--resume");
        }
        let (code, result) = document(&arguments);
        assert_eq!(code, 0, "{result:#}");
        let resumed = number(&result["outcome"]["tls"]["resumed"]);
        assert_eq!(resumed > 10.0, resume, "{resumed} resumed");
    }
}

#[test]
fn a_server_that_is_not_trusted_is_an_error_unless_everybody_is() {
    let files = Files::new("trust");
    let server = files.serve(false);
    let (code, result) = document(&["echo", &server.url, "-n", "10", "--insecure"]);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(result["workload"]["tls"]["verified"], false);
    assert!(result["trust"]["notes"].to_string().contains("--insecure"), "{result:#}");
    let other = Files::new("other");
    let output = loadgen(&["echo", &server.url, "-n", "10", "--cacert", &other.path("ca.pem")]);
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("not issued by a trusted authority"), "{said}");
    assert!(said.contains("--cacert"), "{said}");
}

#[test]
fn certificates_are_shown_to_servers_that_ask() {
    let files = Files::new("identity");
    let server = files.serve(true);
    let (ca, cert, key) =
        (files.path("ca.pem"), files.path("client.pem"), files.path("client.key"));
    let (code, result) = document(&[
        "echo",
        &server.url,
        "-n",
        "10",
        "--cacert",
        &ca,
        "--cert",
        &cert,
        "--key",
        &key,
    ]);
    assert_eq!(code, 0, "{result:#}");
    assert_eq!(result["workload"]["tls"]["client_certificate"], true);
    let output = loadgen(&["echo", &server.url, "-n", "10", "--cacert", &ca]);
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert_ne!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("wants a certificate from the client"), "{said}");
}

#[test]
fn wrong_files_and_flags_are_explained() {
    let files = Files::new("flags");
    let (key, missing) = (files.path("client.key"), files.path("missing.pem"));
    let rows: [(&[&str], &str); 5] = [
        (&["echo", "wss://localhost:1/", "--cacert", &missing], "cannot read the authorities"),
        (&["echo", "wss://localhost:1/", "--cacert", &key], "holds a private key"),
        (&["echo", "ws://localhost:1/", "--insecure"], "--insecure makes no sense here"),
        (&["echo", "wss://localhost:1/", "--cert", &key], "--key <FILE>"),
        (&["echo", "wss://localhost:1/", "-k", "--cacert", &key], "cannot be used with"),
    ];
    for (arguments, why) in rows {
        let output = loadgen(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{why}: {said}");
    }
}
