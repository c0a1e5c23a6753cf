//! The database is over a network: its server proves who it is, and gates that they know the
//! password.

use std::time::Duration;

use crate::process::Process;
use crate::stage::{Plan, create};
use crate::support::folder::Folder;
use crate::support::postgres::{PASSWORD, Postgres};
use crate::support::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_proves_itself_is_used_and_no_other() {
    let folder = Folder::new();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("server.crt"), folder.join("server.key"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let Some(postgres) = Postgres::start_with_tls(&certificate, &key) else {
        return;
    };
    let local = postgres.create_database();
    let environment = |password: &str, host: &str, roots: &str| {
        let (port, database) = (postgres.port(), local.rsplit('/').next().unwrap());
        // The password's proof is bound to the TLS channel.
        let options = "sslmode=verify-full&channel_binding=require";
        let url = format!("postgres://postgres:{password}@{host}:{port}/{database}?{options}");
        vec![("LEDGER", url), ("SSL_CERT_FILE", roots.to_owned())]
    };
    let trusted = certificate.to_str().unwrap();
    let plan = Plan {
        gates: 2,
        database: Some(local.clone()),
        environment: environment(PASSWORD, "localhost", trusted),
        ..Plan::sqlite()
    };
    let stage = plan.start().await;
    for gate in 0..stage.gates() {
        let answer = create("demo", "a cat").send(stage.gate(gate)).await;
        assert_eq!(answer.unwrap().status, 200);
    }
    stage.settled(Duration::from_secs(30)).await;
    let count = |ssl: &str| {
        let of =
            "pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE application_name = 'tollgate'";
        postgres.psql(
            &local,
            &format!("SELECT count(*) FROM {of} AND ssl = {ssl}"),
        )
    };
    assert_eq!(count("false"), "0");
    assert_ne!(count("true"), "0");

    // One with its name and another key is trusted; it is for another host; the password is
    // another.
    let other = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let others = folder.join("other.crt");
    std::fs::write(&others, other.cert.pem()).unwrap();
    let others = others.to_str().unwrap();
    let config = stage.folder().join("tollgate.yaml");
    for (environment, reason) in [
        (environment(PASSWORD, "localhost", others), "BadSignature"),
        (
            environment(PASSWORD, "127.0.0.1", trusted),
            "not valid for name",
        ),
        (
            environment("pass-of-another", "localhost", trusted),
            "password authentication failed",
        ),
    ] {
        let gate = tokio::task::block_in_place(|| Process::start(&config, &environment));
        let answer = create("demo", "a cat").send(gate.gate).await.unwrap();
        assert_eq!((answer.status, &*answer.code()), (503, "unavailable"));
        until("the log says why", async || gate.log().contains(reason)).await;
        assert!(!gate.log().contains("pass-of"), "{}", gate.log());
    }
    assert_eq!(stage.mock.jobs().len(), stage.gates());
}
