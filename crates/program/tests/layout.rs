//! What batch slots hold, and what a layout takes in files.

use umbra_program::{Layout, Packing};

#[test]
fn batch_slots_of_ensembles_have_results_or_none() {
    let layout = Layout { packing: Packing::Channel, images: 1, members: 3, averaged: false };
    assert_eq!((0..5).map(|m| layout.result(m)).collect::<Vec<_>>(), [Some(0), Some(1), Some(2), None, None]);
    let layout = Layout { images: 2, averaged: true, ..layout };
    assert_eq!((0..9).filter_map(|m| Some((m, layout.result(m)?))).collect::<Vec<_>>(), [(0, 0), (4, 1)]);
}

#[test]
fn what_is_usual_takes_no_room_in_files() {
    let text = serde_json::to_string(&Layout::default()).expect("JSON");
    assert_eq!(text, r#"{"packing":"multiplexed"}"#);
    assert_eq!(serde_json::from_str::<Layout>(&text).expect("a layout"), Layout::default());
}
