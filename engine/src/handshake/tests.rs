//! What concerns all parts.

use std::fmt::{Debug, Display};

use super::proxy::{InvalidProxy, ProxyError};
use super::scan::ScanError;
use super::{ClientRequestError, RequestError, ResponseError, UrlError};

/// Each of them says something, and nothing that another one says.
fn are_told_apart(errors: &[impl Display + Debug]) {
    let texts: Vec<_> = errors.iter().map(ToString::to_string).collect();
    for (i, text) in texts.iter().enumerate() {
        assert!(text.split(' ').count() > 3, "{:?} says {text:?}", errors[i]);
        let same = texts.iter().position(|other| other == text);
        assert_eq!(same, Some(i), "{:?} says {text:?}", errors[i]);
    }
}

#[test]
fn errors_are_told_apart_by_their_texts() {
    are_told_apart(&[
        ScanError::BareCarriageReturn,
        ScanError::BareLineFeed,
        ScanError::ControlByte,
        ScanError::NameByte,
        ScanError::NoColon,
        ScanError::EmptyName,
        ScanError::TooManyFields,
        ScanError::LineTooLong,
        ScanError::HeadTooLarge,
    ]);
    are_told_apart(&[
        UrlError::NotAbsolute,
        UrlError::Character,
        UrlError::Scheme,
        UrlError::Fragment,
        UrlError::Host,
        UrlError::Port,
        UrlError::ResourceName,
        UrlError::UserInfo,
    ]);
    are_told_apart(&[
        InvalidProxy::Scheme,
        InvalidProxy::Https,
        InvalidProxy::Host,
        InvalidProxy::Port,
        InvalidProxy::Credentials,
        InvalidProxy::Path,
    ]);
    are_told_apart(&[
        ProxyError::AuthenticationRequired,
        ProxyError::Refused(5),
        ProxyError::Refused(502),
        ProxyError::Malformed,
        ProxyError::TooLarge,
    ]);
    are_told_apart(&[
        ClientRequestError::Origin,
        ClientRequestError::Protocol,
        ClientRequestError::Cookie,
        ClientRequestError::TooManyFields,
    ]);
    are_told_apart(&RequestError::ALL);
    are_told_apart(&ResponseError::ALL);
}
