"""What to do about an error of a file system or an object store, for a person."""

import errno


def advice(error: Exception) -> str:
    """One line, without the name of the file."""
    text = " ".join(str(error).split())
    upper = text.upper().replace("_", "")
    number = error.errno if isinstance(error, OSError) else None
    if number == errno.ENOSPC or "NO SPACE LEFT" in upper:
        return "the disk is full; free some space and give the same command again"
    full = ("HTTP STATUS 507", "INSUFFICIENTSTORAGE", "STORAGEFULL", "QUOTAEXCEEDED", "QUOTA EXCEEDED")
    if number == errno.EDQUOT or any(word in upper for word in full):
        return "the storage is full or its quota is used up; free some space and give the same command again"
    if number == errno.EROFS:
        return "it can only be read; mount it for writing, or give another place"
    if "NOSUCHBUCKET" in upper or "NO SUCH BUCKET" in upper or "BUCKET DOES NOT EXIST" in upper:
        return "there is no such bucket; check its name and the endpoint"
    if "EXPIREDTOKEN" in upper or "TOKEN HAS EXPIRED" in upper or "TOKENREFRESHREQUIRED" in upper:
        return "the credentials have expired; renew them (AWS_SESSION_TOKEN) and give the same command again"
    refused = any(word in upper for word in ("ACCESSDENIED", "FORBIDDEN", "HTTP STATUS 403", "RESPONSE CODE: 403"))
    if isinstance(error, PermissionError) or (refused and not isinstance(error, FileNotFoundError)):
        return "no permission; check who owns it, or the bucket's policy and the credentials in use"
    if "SIGNATUREDOESNOTMATCH" in upper or "INVALIDACCESSKEYID" in upper:
        return "the access key is refused; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
    if "NETWORKCONNECTION" in upper or "CURLCODE" in upper or "TIMEOUT" in upper:
        return f"the object store does not answer; check the endpoint and the network ({text[:200]})"
    if "HTTP STATUS 5" in upper or "SLOWDOWN" in upper or "SERVICEUNAVAILABLE" in upper or "INTERNALFAILURE" in upper:
        return f"the object store is busy or down; give the same command again when it answers ({text[-200:]})"
    if isinstance(error, FileNotFoundError):
        return "there is nothing of that name"
    if isinstance(error, NotADirectoryError):
        return "it is a file; give the folder that holds it"
    return text[:300]


def is_the_stores(error: Exception) -> bool:
    """Whether an error came from the place that a file lies in, and not from what is in the file."""
    return "AWS Error" in str(error) or (isinstance(error, OSError) and error.errno is not None)
