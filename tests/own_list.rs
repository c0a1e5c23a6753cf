//! The list of jobs: a key sees its own and nobody else's.

mod support;

use support::client::{Answer, Body, Request};
use support::{KEY, STUDIO, Stand, form_type, plain_form};

async fn create(stand: &Stand, key: &str) -> String {
    let mut create = Request::create(&form_type(), Body::Length(plain_form(), vec![]));
    create.headers.retain(|(name, _)| name != "Authorization");
    let answer = create.key(key).send(stand.gate).await.unwrap();
    answer.json()["id"].as_str().unwrap().to_owned()
}

async fn list(stand: &Stand, key: &str, query: &str) -> Answer {
    let list = Request::get(&format!("/v1/videos{query}")).key(key);
    list.send(stand.gate).await.unwrap()
}

fn ids(answer: &Answer) -> Vec<String> {
    let jobs = answer.json()["data"].as_array().unwrap().clone();
    let ids = jobs
        .iter()
        .map(|job| job["id"].as_str().unwrap().to_owned());
    ids.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_lists_its_own_jobs_only() {
    let stand = Stand::start().await;
    let (mut demo, mut studio) = (vec![], vec![]);
    for _ in 0..3 {
        demo.push(create(&stand, KEY).await);
        studio.push(create(&stand, STUDIO).await);
    }
    let answer = list(&stand, KEY, "?order=asc").await;
    assert_eq!((answer.status, ids(&answer)), (200, demo.clone()));
    assert_eq!(ids(&list(&stand, STUDIO, "?order=asc").await), studio);
    studio.reverse();
    assert_eq!(ids(&list(&stand, STUDIO, "").await), studio);

    // Paging goes from one's own job to one's own next.
    let first = list(&stand, KEY, "?order=asc&limit=2").await;
    assert_eq!(ids(&first), demo[..2]);
    assert_eq!(first.json()["has_more"], true);
    assert_eq!(first.json()["last_id"], *demo[1]);
    let second = list(
        &stand,
        KEY,
        &format!("?order=asc&limit=2&after={}", demo[1]),
    )
    .await;
    assert_eq!(ids(&second), demo[2..]);
    assert_eq!(second.json()["has_more"], false);

    // Somebody else's job is no place to go on from.
    let foreign = list(&stand, KEY, &format!("?after={}", studio[0])).await;
    assert_eq!((foreign.status, foreign.code()), (404, "not_found".into()));
}
