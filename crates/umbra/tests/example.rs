//! The example does what it says: on a small network, for the time that tests take.

use umbra::image::top_class;
use umbra::model::Reference;
use umbra::model::zoo::ResNet;

#[path = "../examples/classify.rs"]
#[allow(dead_code)]
mod example;

#[test]
fn the_class_is_the_one_in_the_clear() {
    let network = ResNet { widths: vec![4], blocks: 1, classes: 3, height: 8, width: 8, ..ResNet::default() };
    let network = network.build().unwrap();
    let (input, folder) = (network.input(), tempfile::tempdir().unwrap());
    // Of some images the one whose classes are farthest apart: no noise decides.
    let logits = |bytes: &[u8]| Reference::<f64>::new(&network).forward(&input.normalise(bytes).unwrap()).unwrap();
    let margin = |bytes: &[u8]| {
        let mut logits = logits(bytes);
        logits.sort_by(|a, b| b.total_cmp(a));
        logits[0] - logits[1]
    };
    let images = umbra::samples::names().into_iter().map(|name| umbra::samples::sample(name, input).unwrap());
    let image = images.max_by(|a, b| margin(a.bytes()).total_cmp(&margin(b.bytes()))).unwrap();
    assert!(margin(image.bytes()) > 0.07);
    let class = example::classify(&network, image.bytes(), folder.path()).unwrap();
    assert_eq!(class, network.classes()[top_class(&logits(image.bytes())).unwrap()]);
}

#[test]
fn the_story_is_short() {
    let story = include_str!("../examples/classify.rs");
    assert!(story.lines().count() < 40);
}
