import { randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { INTERNAL_NAME } from "#shared/auth/credentials/tls.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const AUTHORITY_LIFE_MS = 10 * 365 * DAY_MS;
const LIFE_MS = 365 * DAY_MS;
/** The next start renews a certificate with less life left. */
const RENEW_MS = 30 * DAY_MS;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

type X509 = typeof import("@peculiar/x509");

/** A certificate and its private key, both in PEM. */
interface Issued {
  certificate: string;
  key: string;
}

/**
 * Creates a test authority in `folder` and, in `tls/`, its certificate for this machine's front proxy and
 * for the cluster's processes, in the files that `WAYBILL_TLS_DIR` names. Keeps existing files, unless the
 * certificate expires within 30 days.
 *
 * @returns the folder of the certificate
 */
export async function makeCertificates(folder: string): Promise<string> {
  const authorityFile = join(folder, "authority.json");
  const tlsDir = join(folder, "tls");
  const certificateFile = join(tlsDir, "tls.crt");
  if (existsSync(certificateFile) && existsSync(authorityFile)) {
    const { validTo } = new X509Certificate(readFileSync(certificateFile));
    if (Date.parse(validTo) - Date.now() > RENEW_MS) return tlsDir;
  }
  // Loaded only here: most starts create no certificate.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  mkdirSync(tlsDir, { recursive: true, mode: 0o700 });
  if (!existsSync(authorityFile)) {
    writeFileSync(authorityFile, JSON.stringify(await createAuthority(x509)), { mode: 0o600 });
  }
  const authority = JSON.parse(readFileSync(authorityFile, "utf8")) as Issued;
  const { certificate, key } = await issueCertificate(x509, authority);
  writeFileSync(join(tlsDir, "ca.crt"), authority.certificate, { mode: 0o600 });
  writeFileSync(join(tlsDir, "tls.key"), key, { mode: 0o600 });
  // Last, because its presence means that the others are complete.
  writeFileSync(certificateFile, certificate, { mode: 0o600 });
  return tlsDir;
}

async function createAuthority(x509: X509): Promise<Issued> {
  const keys = await createKeys();
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: serialNumber(),
    name: "CN=Waybill test authority",
    ...validity(AUTHORITY_LIFE_MS),
    signingAlgorithm: ALGORITHM,
    keys,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  return { certificate: certificate.toString("pem"), key: await toPem(x509, keys.privateKey) };
}

async function issueCertificate(x509: X509, authority: Issued): Promise<Issued> {
  const issuer = new x509.X509Certificate(authority.certificate);
  const keyBytes = x509.PemConverter.decodeFirst(authority.key);
  const keys = await createKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${INTERNAL_NAME}`,
    issuer: issuer.subject,
    ...validity(LIFE_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey: await webcrypto.subtle.importKey("pkcs8", keyBytes, ALGORITHM, false, ["sign"]),
    extensions: [
      new x509.BasicConstraintsExtension(false, undefined, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.digitalSignature, true),
      new x509.ExtendedKeyUsageExtension([
        x509.ExtendedKeyUsage.serverAuth,
        x509.ExtendedKeyUsage.clientAuth,
      ]),
      new x509.SubjectAlternativeNameExtension([
        { type: "dns", value: INTERNAL_NAME },
        { type: "dns", value: "localhost" },
        { type: "ip", value: "127.0.0.1" },
      ]),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      await x509.AuthorityKeyIdentifierExtension.create(issuer.publicKey),
    ],
  });
  return { certificate: certificate.toString("pem"), key: await toPem(x509, keys.privateKey) };
}

function createKeys(): Promise<webcrypto.CryptoKeyPair> {
  return webcrypto.subtle.generateKey(ALGORITHM, true, ["sign", "verify"]);
}

async function toPem(x509: X509, key: webcrypto.CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

function validity(lifeMs: number): { notBefore: Date; notAfter: Date } {
  return { notBefore: new Date(Date.now() - DAY_MS), notAfter: new Date(Date.now() + lifeMs) };
}

/** Returns a random positive serial number (RFC 5280 section 4.1.2.2). */
function serialNumber(): string {
  const [first = 0, ...rest] = randomBytes(16);
  return Buffer.from([(first & 0x7f) | 0x40, ...rest]).toString("hex");
}
