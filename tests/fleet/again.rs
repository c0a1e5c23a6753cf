//! Clients that retry under one Idempotency-Key, as SDKs do, get one job.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::stage::{Plan, Stage, create};
use crate::support::client::{Answer, Body, Request};
use crate::support::{BOUNDARY, form_type};

/// A create whose boundary is another one each time.
fn repeatable(key: &str, prompt: &str) -> Request {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let mut request = create("demo", prompt).header("Idempotency-Key", key);
    let boundary = format!("again-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let Some(Body::Length(body, _)) = request.body else {
        panic!("a create has a body");
    };
    let body = String::from_utf8(body)
        .unwrap()
        .replace(BOUNDARY, &boundary);
    request.body = Some(Body::Length(body.into_bytes(), vec![]));
    for (_, value) in &mut request.headers {
        if *value == form_type() {
            *value = format!("multipart/form-data; boundary={boundary}");
        }
    }
    request
}

/// Sends it until it is answered with something else than "in flight". How often it was not.
async fn retry(stage: &Stage, mut gate: usize, key: &str, prompt: &str) -> (Answer, usize) {
    let (started, mut conflicts) = (Instant::now(), 0);
    loop {
        let answer = repeatable(key, prompt).send(stage.gate(gate)).await;
        match answer {
            Ok(answer) if answer.status == 409 => {
                assert_eq!(answer.code(), "idempotency_conflict");
                assert_eq!(answer.header("retry-after"), Some("1"));
                conflicts += 1;
            }
            Ok(answer) => return (answer, conflicts),
            Err(error) => panic!("{error}"),
        }
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "in flight for ever"
        );
        gate = (gate + 1) % stage.gates();
        sleep(Duration::from_millis(100)).await;
    }
}

fn id(answer: &Answer) -> String {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["id"].as_str().unwrap().to_owned()
}

/// How many jobs the channel has made for a prompt.
fn made(stage: &Stage, prompt: &str) -> usize {
    let jobs = stage.mock.jobs();
    jobs.iter().filter(|job| job.job.prompt == prompt).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_repetitions_make_one_job_in_the_file() {
    a_hundred_repetitions(Plan::sqlite()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_repetitions_make_one_job_in_the_database() {
    if let Some(plan) = Plan::postgres() {
        a_hundred_repetitions(plan).await;
    }
}

async fn a_hundred_repetitions(plan: Plan) {
    let stage = Arc::new(plan.start().await);
    let prompt = "a hundred times [mock:slow=1000]";
    let mut clients = JoinSet::new();
    for client in 0..100 {
        let stage = stage.clone();
        clients.spawn(async move {
            let gate = client % stage.gates();
            let (answer, conflicts) = retry(&stage, gate, "one", prompt).await;
            let replayed = answer.header("idempotent-replayed") == Some("true");
            (id(&answer), conflicts, replayed)
        });
    }
    let (mut ids, mut conflicts, mut first) = (HashSet::new(), 0, 0);
    while let Some(client) = clients.join_next().await {
        let (id, waited, replayed) = client.unwrap();
        ids.insert(id);
        conflicts += waited;
        first += usize::from(!replayed);
    }
    assert_eq!((ids.len(), first), (1, 1));
    assert!(conflicts > 0, "nothing was in flight");
    assert_eq!(made(&stage, prompt), 1);

    // Another gate's process knows it too, however the one before has ended.
    for signal in ["TERM", "KILL"] {
        for gate in 0..stage.gates() {
            stage.end(gate, signal);
            stage.start(gate);
            let (answer, _) = retry(&stage, gate, "one", prompt).await;
            assert_eq!(answer.header("idempotent-replayed"), Some("true"));
            assert!(ids.contains(&id(&answer)));
            let other = repeatable("one", "something else")
                .send(stage.gate(gate))
                .await;
            assert_eq!(other.unwrap().status, 422);
        }
    }

    // The channel's answer is lost: the job is found, as soon as the channel lists its jobs,
    // and is what the retry gets.
    let prompt = "the answer is lost [mock:drop-after]";
    let no_list = vec!["list:500".parse().unwrap()];
    stage.mock.set_faults(no_list, None);
    let lost = repeatable("two", prompt).send(stage.gate(0)).await.unwrap();
    assert_eq!((lost.status, lost.code().as_str()), (502, "upstream_error"));
    for gate in 0..stage.gates() {
        let unknown = repeatable("two", prompt).send(stage.gate(gate)).await;
        assert_eq!(unknown.unwrap().status, 409);
    }
    stage.mock.set_faults(vec![], None);
    let (answer, _) = retry(&stage, 0, "two", prompt).await;
    let found = id(&answer);
    let jobs = stage.mock.jobs();
    let job = jobs.iter().find(|job| job.job.id.as_ref() == Some(&found));
    assert_eq!(job.unwrap().job.prompt, prompt);
    assert_eq!(made(&stage, prompt), 1);

    // The gate is killed before the channel answers: likewise, by whichever gate there is.
    let prompt = "the gate is killed [mock:slow=2500]";
    let (request, gate) = (repeatable("three", prompt), stage.gate(0));
    let sent = tokio::spawn(async move { request.send(gate).await });
    while made(&stage, prompt) == 0 && !sent.is_finished() {
        let creates = stage.mock.requests();
        if creates
            .iter()
            .any(|r| r.fields.prompt.as_deref() == Some(prompt))
        {
            break;
        }
        sleep(Duration::from_millis(2)).await;
    }
    stage.end(0, "KILL");
    assert!(sent.await.unwrap().is_err());
    stage.start(0);
    let (answer, _) = retry(&stage, 0, "three", prompt).await;
    id(&answer);
    assert_eq!(made(&stage, prompt), 1);
    stage.settled(Duration::from_secs(60)).await;
    assert_eq!(stage.books.count("posted").await, stage.mock.jobs().len());
}
