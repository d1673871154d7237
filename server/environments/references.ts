import { HakuError } from '#core/errors.ts'
import { quote } from '#core/names.ts'

/** `[registry[:port]/]path[:tag][@digest]` (distribution/reference). Tags keep their case. */
const REFERENCE_RE = /^(?:(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?(?::\d+)?)\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::\w[\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?$/
const IMAGE_ID_RE = /^(?:sha256:)?[0-9a-f]{12,64}$/

/** Throws `image.reference_invalid` unless `reference` may name an image. Never changes it. */
export function assertImageReference(reference: string): void {
  if (!REFERENCE_RE.test(reference) && !IMAGE_ID_RE.test(reference)) {
    throw new HakuError('image.reference_invalid', `${quote(reference)} is not an image reference. Write it as for docker pull, such as python:3.11-slim.`)
  }
}
