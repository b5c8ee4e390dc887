//! The record of a run, kept in the simulated API server.

use std::sync::Arc;

use proto::RunId;
use serde_json::json;

use super::fake_server::FakeServer;
use crate::master::api::{Cut, Entry, KeepError, RecordError, Recorder};
use crate::record::{Place, RunRecorder, read_record};
use crate::server::{Kind, Server};
use crate::view::FlowView;

fn run<T>(story: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(story)
}

fn id() -> RunId {
    RunId::try_from("u-1".to_owned()).unwrap()
}

fn recorder(server: &FakeServer, writer: &str) -> RunRecorder {
    let flow = json!({"metadata": {"name": "a", "namespace": "n", "uid": "u", "resourceVersion": "1"}, "spec": {}});
    let place = Place { flow: FlowView::read(&flow).unwrap(), run: id(), base: "a-1".into() };
    RunRecorder::new(Arc::new(server.clone()), place, writer.to_owned())
}

fn cut(number: u32) -> Entry {
    Entry::Cut { group: serde_json::from_value(json!(1)).unwrap(), cut: Cut::Buckets(vec![(0, number)]), told: None }
}

#[test]
fn entries_come_back_in_order_however_many_and_however_large() {
    run(async {
        let server = FakeServer::new();
        let recorder = recorder(&server, "x/1");
        // Noise, so that compression does not make it small.
        let mut state = 1_u64;
        let noise = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 40) as u8
        };
        let plan: Vec<u8> = (0..2_000_000).map(noise).collect();
        let mut entries = vec![Entry::Planned { plan, partitions: None, slots: 3 }];
        entries.extend((0..12).map(cut));
        for (at, entry) in entries.iter().enumerate() {
            recorder.append(&id(), at, entry).await.unwrap();
        }
        assert!(server.store().objects.len() > entries.len(), "the first takes several objects");
        assert_eq!(read_record(&server, "n", &id()).await.unwrap(), entries);
    });
}

#[test]
fn two_leaders_cannot_write_the_same_place_but_one_may_ask_twice() {
    run(async {
        let server = FakeServer::new();
        let old = recorder(&server, "x/1");
        let new = recorder(&server, "y/2");
        old.append(&id(), 0, &cut(1)).await.unwrap();
        old.append(&id(), 0, &cut(1)).await.unwrap();
        assert!(matches!(old.append(&id(), 0, &cut(2)).await, Err(RecordError::Behind)), "not what it wrote");
        new.append(&id(), 1, &cut(3)).await.unwrap();
        assert!(matches!(old.append(&id(), 1, &cut(3)).await, Err(RecordError::Superseded)));
    });
}

#[test]
fn an_earlier_leaders_late_entry_is_read_not_taken_for_a_later_leaders() {
    run(async {
        let server = FakeServer::new();
        let (old, new) = (recorder(&server, "x/9"), recorder(&server, "y/10"));
        assert_eq!(new.read(&id()).await.unwrap(), []);
        old.append(&id(), 0, &cut(1)).await.unwrap();
        assert!(matches!(new.append(&id(), 0, &cut(1)).await, Err(RecordError::Behind)));
        assert_eq!(new.read(&id()).await.unwrap(), [cut(1)]);
    });
}

#[test]
fn what_only_has_the_name_of_an_entry_is_no_entry() {
    run(async {
        let server = FakeServer::new();
        let recorder = recorder(&server, "x/1");
        let name = crate::naming::record("a-1", 0);
        let foreign = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "n"}, "data": {}});
        server.create(Kind::ConfigMap, "n", &foreign).await.unwrap();
        let refused = recorder.append(&id(), 0, &cut(1)).await;
        assert!(
            matches!(&refused, Err(RecordError::Impossible(why)) if why.contains("belongs to something else")),
            "{refused:?}"
        );
    });
}

#[test]
fn a_lease_that_is_late_does_not_take_the_run_away() {
    run(async {
        let server = FakeServer::new();
        let recorder = recorder(&server, "x/1");
        // Nothing may be written before the lease is renewed; then the same entry goes in.
        *server.life.lock().unwrap() = Some(0);
        assert!(matches!(recorder.append(&id(), 0, &cut(1)).await, Err(RecordError::Unavailable(_))));
        *server.life.lock().unwrap() = None;
        recorder.append(&id(), 0, &cut(1)).await.unwrap();
    });
}

#[test]
fn a_record_with_a_hole_is_not_taken_for_a_shorter_one() {
    run(async {
        let server = FakeServer::new();
        let recorder = recorder(&server, "x/1");
        recorder.append(&id(), 1, &cut(1)).await.unwrap();
        assert!(read_record(&server, "n", &id()).await.is_err());
    });
}

#[test]
fn the_rows_of_the_leader_that_commits_are_kept() {
    run(async {
        let server = FakeServer::new();
        let rows = |text: &str| [("out".to_owned(), text.as_bytes().to_vec())].into();
        recorder(&server, "x/1").keep_output(&id(), &rows("old")).await.unwrap();
        recorder(&server, "y/2").keep_output(&id(), &rows("new")).await.unwrap();
        let kept = server.list(Kind::Secret, "n", "gleamflow.io/run=u-1").await.unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0]["data"]["out"], "bmV3");
        let late = recorder(&server, "x/1").keep_output(&id(), &rows("late")).await;
        assert_eq!(late, Err(KeepError::Superseded));
        assert_eq!(server.list(Kind::Secret, "n", "gleamflow.io/run=u-1").await.unwrap(), kept);
    });
}

#[test]
fn an_entry_that_may_not_be_made_says_which_right_is_missing() {
    run(async {
        let server = FakeServer::new();
        let recorder = recorder(&server, "x/1");
        server.store().forbidden = Some(("create", Kind::ConfigMap));
        let refused = recorder.append(&id(), 0, &cut(1)).await.unwrap_err().to_string();
        assert!(refused.contains("cannot create resource \"configmaps\""), "{refused}");
        server.store().forbidden = Some(("list", Kind::ConfigMap));
        let refused = recorder.read(&id()).await.unwrap_err().to_string();
        assert!(refused.contains("cannot list resource \"configmaps\""), "{refused}");
        server.store().forbidden = Some(("create", Kind::Secret));
        let rows = [("out".to_owned(), b"x".to_vec())].into();
        let refused = recorder.keep_output(&id(), &rows).await.unwrap_err().to_string();
        assert!(refused.contains("cannot create resource \"secrets\""), "{refused}");
        server.store().forbidden = None;
        recorder.append(&id(), 0, &cut(1)).await.unwrap();
        recorder.keep_output(&id(), &rows).await.unwrap();
    });
}
