//! Channels that take `seconds` as a JSON number, beside channels that take a string: each
//! request goes to one that takes what it has written, as it was written.

#[path = "support/plays.rs"]
mod plays;
mod support;

use std::sync::Arc;

use plays::{Play, answer, channel};
use support::client::{Answer, Body, Request};
use support::{Setup, Stand, form_type, plain_form};

fn create(body: &str) -> Request {
    let body = Body::Length(body.as_bytes().to_vec(), vec![]);
    Request::create("application/json", body)
}

async fn ask(stand: &Stand, model: &str, seconds: &str) -> Answer {
    let body = format!(r#"{{"model":"{model}", "prompt":"a cat", "seconds" : {seconds} }}"#);
    create(&body).send(stand.gate).await.unwrap()
}

/// A gate with a second channel, `numbers`, there.
fn with_numbers(address: &str, seconds_type: &str) -> Setup {
    let numbers = format!(
        "channels:\n  numbers:\n    url: http://{address}\n    auth: none\n    \
         models: [sora-2]\n    seconds_type: {seconds_type}\n"
    );
    Setup::default().replacing("channels:\n", &numbers)
}

fn job(id: usize) -> Play {
    let job = format!(
        "{{\"id\":\"video_{id}\",\"object\":\"video\",\"status\":\"completed\",\
         \"model\":\"sora-2\",\"seconds\":\"8\",\"size\":\"720x1280\"}}"
    );
    Play::Answer(answer("200 OK", "Content-Type: application/json\r\n", &job))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_goes_where_its_type_is_taken() {
    let reads = Arc::default();
    let jobs = (0..3).map(job).collect();
    let address = channel(vec![jobs], Arc::clone(&reads)).await.to_string();
    let stand = with_numbers(&address, "number").start().await;
    for _ in 0..3 {
        assert_eq!(ask(&stand, "sora-2", "\"8\"").await.status, 200);
    }
    let at_mock = || stand.mock.stats().creates_complete;
    assert_eq!((at_mock(), reads.lock().unwrap().len()), (3, 0));
    for _ in 0..3 {
        assert_eq!(ask(&stand, "sora-2", "8").await.status, 200);
    }
    assert_eq!((at_mock(), reads.lock().unwrap().len()), (3, 3));
    for read in reads.lock().unwrap().iter() {
        let read = String::from_utf8(read.clone()).unwrap();
        let body = r#"{"model":"sora-2", "prompt":"a cat", "seconds" : 8 }"#;
        assert!(read.ends_with(&format!("\r\n\r\n{body}")), "{read}");
    }
    let posted = "tollgate_video_seconds_total{channel=\"numbers\",event=\"posted\",\
                  key=\"demo\",model=\"sora-2\",size=\"720x1280\"}";
    assert_eq!(stand.metric(posted).await, 24.0);

    // The channel of this model takes strings.
    let refused = ask(&stand, "sora-2-pro", "8").await;
    assert_eq!(
        (refused.status, refused.code()),
        (400, "invalid_value".into())
    );
    let error = &refused.json()["error"];
    assert_eq!(error["param"], "seconds");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("a string, in quotes"), "{message}");
    for odd in ["8.0", "8e0", "-8", "true"] {
        let refused = ask(&stand, "sora-2", odd).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "invalid_value".into())
        );
    }
    assert_eq!((at_mock(), reads.lock().unwrap().len()), (3, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_has_no_type_goes_anywhere() {
    let reads = Arc::default();
    let jobs = (0..2).map(job).collect();
    let address = channel(vec![jobs], Arc::clone(&reads)).await.to_string();
    let mut setup = with_numbers(&address, "number");
    // The mock channel has the other model alone.
    setup = setup.replacing("models: [sora-2, sora-2-pro]", "models: [sora-2-pro]");
    let stand = setup.start().await;
    let form = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    assert_eq!(form.send(stand.gate).await.unwrap().status, 200);
    let without = r#"{"model":"sora-2","prompt":"a cat","seconds":null}"#;
    let without = create(without).send(stand.gate).await.unwrap();
    assert_eq!(without.status, 200);
    let string = ask(&stand, "sora-2", "\"8\"").await;
    assert_eq!(
        (string.status, string.code()),
        (400, "invalid_value".into())
    );
    let message = string.json()["error"]["message"].to_string();
    assert!(message.contains("without quotes"), "{message}");
    assert_eq!(reads.lock().unwrap().len(), 2);
}

/// Behind a long image the channel has been chosen already.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn seconds_behind_an_image_may_come_too_late() {
    // Nobody is there, so that the other channel is chosen first.
    let stand = with_numbers("127.0.0.1:1", "either").start().await;
    for _ in 0..6 {
        assert_eq!(ask(&stand, "sora-2", "8").await.status, 503);
    }
    let image = "A".repeat(400_000);
    let body = |first: &str, last: &str| {
        let image = format!(r#""input_reference":{{"image_url":"https://a/{image}"}}"#);
        format!(r#"{{"model":"sora-2","prompt":"a cat"{first},{image}{last}}}"#)
    };
    let seconds = r#","seconds":8"#;
    let late = create(&body("", seconds)).send(stand.gate).await.unwrap();
    assert_eq!(
        (late.status, late.code()),
        (400, "seconds_after_file".into())
    );
    assert_eq!(late.json()["error"]["param"], "seconds");
    assert_eq!(stand.mock.stats().creates_complete, 0);
    let string = body("", r#","seconds":"8""#);
    assert_eq!(create(&string).send(stand.gate).await.unwrap().status, 200);
}
