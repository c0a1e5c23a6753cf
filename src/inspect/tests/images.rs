//! Tests reference images, as files and as data URLs, against the requested size.

use super::*;
use crate::image::Image;

#[test]
fn a_reference_image_has_the_requested_size() {
    let right = png(1280, 720);
    let wrong = png(1024, 1024);
    let base: [(&str, &[u8]); 3] = [
        ("prompt", b"a cat"),
        ("model", b"sora-2"),
        ("size", b"1280x720"),
    ];
    let file = |image: &[u8], at: usize| {
        let mut fields = base.to_vec();
        fields.insert(at, ("input_reference@", image));
        inspect(FORM, &form(&fields))
    };
    for at in 0..=3 {
        assert_eq!(file(&right, at), permitted());
        let refusal = file(&wrong, at).unwrap_err();
        assert!(matches!(
            refusal,
            Refusal::ImageSizeMismatch {
                image: Image {
                    width: 1024,
                    height: 1024,
                    ..
                },
                ..
            }
        ));
        assert!(matches!(
            file(b"GIF89a", at),
            Err(Refusal::UnreadableImage(_))
        ));
        assert!(matches!(
            file(&right[..12], at),
            Err(Refusal::UnreadableImage(_))
        ));
    }
    // The default size counts where no size is requested.
    let body = form(&[base[0], base[1], ("input_reference@", &right)]);
    assert!(matches!(
        refused(FORM, &body),
        Refusal::ImageSizeMismatch { .. }
    ));
    // A model that does not check its reference lets any image pass.
    let open = form(&[
        base[0],
        ("model", b"open-model"),
        ("input_reference@", b"GIF89a"),
    ]);
    assert!(inspect(FORM, &open).is_ok());
}

#[test]
fn a_data_url_is_looked_into_and_a_plain_one_passes() {
    let url = |url: &str| inspect("application/json", &url_body(url));
    assert_eq!(url("https://example.com/a.png"), permitted());
    let right = encode(&png(1280, 720));
    assert_eq!(url(&format!("data:image/png;base64,{right}")), permitted());
    let wrong = encode(&png(640, 480));
    assert!(matches!(
        url(&format!("data:image/png;base64,{wrong}")),
        Err(Refusal::ImageSizeMismatch {
            image: Image {
                width: 640,
                height: 480,
                ..
            },
            ..
        })
    ));
    for bad in [
        "data:image/png;base64",
        "data:image/png,abc",
        "DATA:image/png;base64,iVBO",
        "data:text/html;base64,iVBO",
        "data:image/png",
        "data:",
    ] {
        assert_eq!(url(bad), Err(Refusal::BadDataUrl), "{bad}");
    }
    for (bad, fault) in [
        ("iV'BORw0KGgo=", Base64Fault::Character),
        ("iVBORw==iVBORw==", Base64Fault::End),
        ("iVBOR", Base64Fault::End),
        ("iVBOR===", Base64Fault::End),
    ] {
        let bad = url(&format!("data:image/png;base64,{bad}"));
        assert_eq!(bad, Err(Refusal::BadBase64(fault)));
    }
    assert!(matches!(
        url("data:image/png;base64,iVBORw0KGgo="),
        Err(Refusal::UnreadableImage(_))
    ));
}

/// Checks that pieces of one byte do not make the decoder forget earlier characters. Once they did, so that
/// a wrong image followed by the head of a right one passed.
#[test]
fn a_second_head_behind_a_wrong_image_does_not_count() {
    let both = [png(640, 480), png(1280, 720)].concat();
    let body = url_body(&format!("data:image/png;base64,{}", encode(&both)));
    assert!(matches!(
        refused("application/json", &body),
        Refusal::ImageSizeMismatch {
            image: Image {
                width: 640,
                height: 480,
                ..
            },
            ..
        }
    ));
}

#[test]
fn an_empty_file_input_of_a_browser_is_no_image() {
    let mut body = part("prompt", b"a cat");
    body.extend(part("model", b"sora-2"));
    body.extend(part("size", b"1280x720"));
    body.extend(
        b"--xx\r\nContent-Disposition: form-data; name=\"input_reference\"; filename=\"\"\r\n\
          Content-Type: application/octet-stream\r\n\r\n\r\n--xx--\r\n",
    );
    assert_eq!(inspect(FORM, &body), permitted());
}
