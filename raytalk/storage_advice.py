"""What to do about an error of a file system or an object store, for a person."""

import errno


def advice(error: Exception) -> str:
    """One line, without the name of the file."""
    text = " ".join(str(error).split())
    upper = text.upper().replace("_", "")
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC or "NO SPACE LEFT" in upper:
        return "the disk is full; free some space and give the same command again"
    if "NOSUCHBUCKET" in upper or "NO SUCH BUCKET" in upper or "BUCKET DOES NOT EXIST" in upper:
        return "there is no such bucket; check its name and the endpoint"
    refused = any(word in upper for word in ("ACCESSDENIED", "FORBIDDEN", "HTTP STATUS 403", "RESPONSE CODE: 403"))
    if isinstance(error, PermissionError) or (refused and not isinstance(error, FileNotFoundError)):
        return "no permission; check who owns it, or the bucket's policy and the credentials in use"
    if "SIGNATUREDOESNOTMATCH" in upper or "INVALIDACCESSKEYID" in upper:
        return "the access key is refused; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "NETWORKCONNECTION" in upper or "CURLCODE" in upper or "TIMEOUT" in upper:
        return f"the object store does not answer; check the endpoint and the network ({text[:200]})"
    if isinstance(error, FileNotFoundError):
        return "there is nothing of that name"
    if isinstance(error, NotADirectoryError):
        return "it is a file; give the folder that holds it"
    return text[:300]
