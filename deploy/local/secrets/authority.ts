import { randomBytes, webcrypto, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { INTERNAL_NAME } from "#shared/auth/credentials/tls.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const AUTHORITY_LIFE_MS = 10 * 365 * DAY_MS;
const LIFE_MS = 365 * DAY_MS;
/** A certificate with less left is made anew at the next start. */
const RENEW_MS = 30 * DAY_MS;
const ALGORITHM = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" };

/**
 * Makes a test authority in `folder` and, in `tls/`, a certificate of it for this machine's front
 * door and for the parts of a cluster among themselves, in the files that `WAYBILL_TLS_DIR` takes.
 * What is there already stays, but for a certificate that expires within 30 days.
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
  // Loaded here alone: most starts make no certificate.
  await import("reflect-metadata");
  const x509 = await import("@peculiar/x509");
  mkdirSync(tlsDir, { recursive: true, mode: 0o700 });

  const makeKeys = () =>
    webcrypto.subtle.generateKey(ALGORITHM, true, [
      "sign",
      "verify",
    ]) as Promise<webcrypto.CryptoKeyPair>;
  const pemOf = async (key: CryptoKey) =>
    x509.PemConverter.encode(await webcrypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
  const dates = (lifeMs: number) => ({
    notBefore: new Date(Date.now() - DAY_MS),
    notAfter: new Date(Date.now() + lifeMs),
  });

  if (!existsSync(authorityFile)) {
    const keys = await makeKeys();
    const certificate = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: serialNumber(),
      name: "CN=Waybill test authority",
      ...dates(AUTHORITY_LIFE_MS),
      signingAlgorithm: ALGORITHM,
      keys,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
        await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
      ],
    });
    const authority = {
      certificate: certificate.toString("pem"),
      key: await pemOf(keys.privateKey),
    };
    writeFileSync(authorityFile, JSON.stringify(authority), { mode: 0o600 });
  }

  const authority = JSON.parse(readFileSync(authorityFile, "utf8")) as Authority;
  const issuer = new x509.X509Certificate(authority.certificate);
  const signingKey = await webcrypto.subtle.importKey(
    "pkcs8",
    x509.PemConverter.decodeFirst(authority.key),
    ALGORITHM,
    false,
    ["sign"],
  );
  const keys = await makeKeys();
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: `CN=${INTERNAL_NAME}`,
    issuer: issuer.subject,
    ...dates(LIFE_MS),
    signingAlgorithm: ALGORITHM,
    publicKey: keys.publicKey,
    signingKey,
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
  writeFileSync(join(tlsDir, "ca.crt"), authority.certificate, { mode: 0o600 });
  writeFileSync(join(tlsDir, "tls.key"), await pemOf(keys.privateKey), { mode: 0o600 });
  // Last, because it says that all are there.
  writeFileSync(certificateFile, certificate.toString("pem"), { mode: 0o600 });
  return tlsDir;
}

interface Authority {
  certificate: string;
  key: string;
}

/** Positive, as RFC 5280 §4.1.2.2 wants it. */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0]! &= 0x7f;
  bytes[0]! |= 0x40;
  return bytes.toString("hex");
}
