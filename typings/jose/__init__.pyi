from jose.exceptions import JOSEError as JOSEError
from jose.exceptions import JWSError as JWSError
from jose.exceptions import JWTError as JWTError
